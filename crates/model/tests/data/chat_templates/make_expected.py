"""Records what Python's Jinja makes of the templates in this folder: expected.json and snippets.json.

The environment is the one that Hugging Face transformers gives to chat templates. Needs jinja2 (3.1):

    python3 make_expected.py              # writes the two files beside this script
    python3 make_expected.py FILE... OUT  # renders other templates, for measuring

A result is {"text": ...} or {"error": the message of raise_exception, or null}.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

HERE = pathlib.Path(__file__).parent
UNIX_TIME = 1_751_362_200  # 2025-07-01 09:30 UTC


class Generation(jinja2.ext.Extension):
    """Accepts {% generation %} blocks."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

    def _support(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def strftime_now(format):
    return datetime.datetime.fromtimestamp(UNIX_TIME, datetime.timezone.utc).strftime(format)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def render(source, variables):
    try:
        return {"text": environment().from_string(source).render(**variables)}
    except jinja2.exceptions.TemplateError as error:
        raised = type(error) is jinja2.exceptions.TemplateError
        return {"error": error.message if raised else None}
    except Exception:
        return {"error": None}


def chat(case):
    return {
        "messages": case["messages"],
        "tools": case.get("tools"),
        "documents": None,
        "add_generation_prompt": case["add_generation_prompt"],
        "bos_token": "<s>",
        "eos_token": "</s>",
    } | case.get("variables", {})


def record(files):
    cases = json.loads((HERE / "messages.json").read_text())
    return {
        pathlib.Path(f).name: {c["name"]: render(pathlib.Path(f).read_text(), chat(c)) for c in cases} for f in files
    }


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


if len(sys.argv) > 1:
    write(pathlib.Path(sys.argv[-1]), record(sys.argv[1:-1]))
else:
    write(HERE / "expected.json", record(sorted(HERE.glob("*.jinja"))))
    snippets = json.loads((HERE / "snippets.json").read_text())
    for snippet in snippets["snippets"]:
        snippet.pop("text", None), snippet.pop("error", None)
        snippet.update(render(snippet["template"], snippets["variables"]))
    write(HERE / "snippets.json", snippets)
