#!/usr/bin/env python3
"""Runs the recipes of docs/clients.md that are marked `test`, so that what people copy is what works.

    recipes.py [--list] [--only WORD] [DOCUMENT]

A fence such as ```python test is run as it stands, but for the address and the model's name, which become those of the
server under test (SSD_LLM_URL, SSD_LLM_MODEL). `needs=PROGRAM` skips a recipe where the program is not installed. A recipe
passes when it ends with status 0, prints something, and prints no error object. Python recipes run in this interpreter's
environment, JavaScript ones in the folder SSD_LLM_NODE_FOLDER, whose node_modules has the packages.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
ADDRESS, NAME = "127.0.0.1:11434", "smollm2"
TIMEOUT_S = 180
FENCE = re.compile(r"^```(\w+) test((?: \S+)*)\n(.*?)^```$", re.M | re.S)


@dataclasses.dataclass
class Recipe:
    title: str
    language: str
    needs: list
    code: str


def read(document):
    """All recipes of a document, titled by the heading above them."""
    text = document.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        heading = re.findall(r"^##+ (.*)$", text[: match.start()], re.M)[-1]
        needs = [word.removeprefix("needs=") for word in match[2].split() if word.startswith("needs=")]
        found.append(Recipe(f"{heading} ({match[1]}, line {text[: match.start()].count(chr(10)) + 1})", match[1], needs, match[3]))
    return found


def command(recipe, folder, code):
    """Writes the code down and says how to run it."""
    if recipe.language == "python":
        (folder / "recipe.py").write_text(code, encoding="utf-8")
        return [sys.executable, folder / "recipe.py"]
    if recipe.language == "sh":
        (folder / "recipe.sh").write_text(code, encoding="utf-8")
        return ["bash", "-euo", "pipefail", folder / "recipe.sh"]
    if recipe.language == "js":
        # Node looks for packages beside the file, not where it is started.
        place = pathlib.Path(os.environ.get("SSD_LLM_NODE_FOLDER", TOP / "target/client-tests/js"))
        file = place / "recipe.mjs"
        file.write_text(code, encoding="utf-8")
        return ["node", file]
    raise SystemExit(f"{recipe.title}: no way to run {recipe.language}")


def run(recipe, url, model):
    """None where it passed, "skipped: ..." or what went wrong."""
    missing = [program for program in recipe.needs if not shutil.which(program)]
    if missing:
        return f"skipped: {missing[0]} is not installed"
    code = recipe.code.replace(f"http://{ADDRESS}", url).replace(ADDRESS, url.split("://", 1)[1])
    code = re.sub(rf"\b{NAME}\b", model, code)
    with tempfile.TemporaryDirectory() as folder:
        words = command(recipe, pathlib.Path(folder), code)
        try:
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"took longer than {TIMEOUT_S} s"
    if done.returncode != 0:
        return f"ended with status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    if not done.stdout.strip():
        return f"printed nothing\n{done.stderr[-4000:]}"
    if re.search(r'^\s*\{"error"', done.stdout, re.M):
        return f"printed an error\n{done.stdout[-2000:]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("document", nargs="?", type=pathlib.Path, default=TOP / "docs/clients.md")
    parser.add_argument("--list", action="store_true", help="print what would run")
    parser.add_argument("--only", default="", help="run only recipes whose title has this word")
    args = parser.parse_args()
    recipes = [recipe for recipe in read(args.document) if args.only.lower() in recipe.title.lower()]
    if not recipes:
        raise SystemExit(f"no recipe in {args.document}")
    if args.list:
        print("\n".join(recipe.title for recipe in recipes))
        return 0

    url = os.environ.get("SSD_LLM_URL", f"http://{ADDRESS}").rstrip("/")
    model = os.environ.get("SSD_LLM_MODEL")
    if not model:
        with urllib.request.urlopen(f"{url}/api/tags", timeout=60) as answer:
            model = json.load(answer)["models"][0]["name"]
    n_failed = 0
    for recipe in recipes:
        wrong = run(recipe, url, model)
        skipped = wrong is not None and wrong.startswith("skipped")
        n_failed += wrong is not None and not skipped
        print(f"{'ok  ' if wrong is None else 'skip' if skipped else 'FAIL'} {recipe.title}{'' if wrong is None else ': ' + wrong}", flush=True)
    print(f"recipes: {len(recipes)} run or skipped, {n_failed} failed")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
