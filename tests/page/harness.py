"""What the tests of the page stand on: a browser, a page in it that knows its own parts, and a list of checks.

A check is a function that takes a `Stage` and raises when something is wrong. Each gets a browser profile of its own and,
unless the tests run against a real server, a fake server of its own. Whatever the page says on the console as an error
fails the check, except what the check announced with `allow`: a browser itself reports requests that fail.
"""

import os
import pathlib
import re
import shutil
import time
import traceback

import axe_playwright_python
from fake_server import FakeServer
from playwright.sync_api import Error, expect, sync_playwright

CHECKS = []
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
# What browsers print about requests that fail; a page cannot keep them from it.
REFUSED = r"net::ERR_|status of 4\d\d|ERR_INCOMPLETE_CHUNKED|net::ERR_CONNECTION"


def check(*, real=False):
    """Registers a check; `real` ones make sense against any server with a model."""

    def register(function):
        CHECKS.append((function, real))
        return function

    return register


class Stage:
    """One check's browser profile, server and first page."""

    def __init__(self, browser, options, **context):
        self.options = options
        self.real = options.url is not None
        self.server = None if self.real else FakeServer().start()
        self.url = options.url.rstrip("/") + "/" if self.real else self.server.url
        self.patience_ms = 180_000 if self.real else 10_000
        self.allowed, self.errors, self.hosts = [], [], set()
        self.context = browser.new_context(viewport=DESKTOP, color_scheme="light", **context)
        self.context.set_default_timeout(self.patience_ms)
        self.context.on("page", self.watch)
        self.context.on("request", lambda request: self.hosts.add(request.url.split("/")[2]) if "://" in request.url else None)
        self.page = self.context.new_page()

    def watch(self, page):
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))

    def allow(self, pattern=REFUSED):
        self.allowed.append(pattern)

    def close(self):
        self.context.close()
        if self.server:
            self.server.stop()

    def unexpected_errors(self):
        return [text for text in self.errors if not any(re.search(pattern, text) for pattern in self.allowed)]

    def open(self, path="", page=None):
        page = page or self.page
        page.goto(self.url + path)
        return page

    def connect(self):
        """Opens the page and waits until it has found the server."""
        self.open()
        expect(self.page.locator("#connection-words")).to_have_text("Connected", timeout=20_000)
        return self.page

    def send(self, text, page=None):
        page = page or self.page
        page.locator("#prompt").fill(text)
        page.locator("#prompt").press("Enter")

    def ask(self, text, page=None):
        """Sends and waits for the whole answer."""
        self.send(text, page)
        self.wait_done(page)
        return self.answer(page)

    def wait_done(self, page=None):
        page = page or self.page
        expect(page.locator("#stop")).to_be_hidden(timeout=self.patience_ms)

    def answer(self, page=None):
        return (page or self.page).locator(".answer").last

    def wait_text(self, at_least=20, page=None):
        """Waits until some of the answer is there, and returns it."""
        page = page or self.page
        length = "(document.querySelector('.answer:last-child .text')?.textContent.length ?? 0)"
        until(lambda: page.evaluate(length) >= at_least, f"{at_least} characters of the answer", self.patience_ms / 1000)
        return self.answer(page).locator(".text").inner_text()

    def shot(self, name, page=None):
        if self.options.shots:
            (page or self.page).screenshot(path=str(pathlib.Path(self.options.shots) / f"{name}.png"))

    def axe(self, what):
        """Fails on what axe-core calls serious or critical."""
        # Colours that are still fading in would be measured half way.
        self.page.evaluate("Promise.all(document.getAnimations().filter(a => a.effect.getTiming().iterations !== Infinity).map(a => a.finished))")
        if not self.page.evaluate("typeof window.axe !== 'undefined'"):
            self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        grave = [f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:150]}" for one in found if one["impact"] in ("serious", "critical")]
        assert not grave, f"axe, {what}: {grave}"
        return [one["id"] for one in found]


AXE = next(pathlib.Path(axe_playwright_python.__file__).parent.glob("axe*.js")).read_text()


def until(condition, what, patience_s=10):
    """Waits until `condition()` is true. The browser's own waiting is no help: it evaluates strings, which the page forbids."""
    end = time.time() + patience_s
    while not condition():
        assert time.time() < end, f"never came: {what}"
        time.sleep(0.05)


def launch(playwright):
    """Starts Chromium: the one named by CHROMIUM, playwright's own, or the system's."""
    named = os.environ.get("CHROMIUM")
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    if not named:
        try:
            return playwright.chromium.launch(args=arguments)
        except Error:
            named = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
            if not named:
                raise
    return playwright.chromium.launch(executable_path=named, args=arguments)


def run(options):
    """Runs the checks that `options` choose and returns how many failed."""
    passed = failed = skipped = 0
    with sync_playwright() as playwright:
        browser = launch(playwright)
        print(f"Chromium {browser.version}, {options.url or 'a server that makes answers up'}")
        for function, real in CHECKS:
            name = function.__name__
            if options.only and not any(part in name for part in options.only):
                continue
            if options.url and not real:
                skipped += 1
                continue
            started = time.time()
            stage = Stage(browser, options)
            try:
                function(stage)
                errors = stage.unexpected_errors()
                assert not errors, f"on the console: {errors}"
                passed += 1
                print(f"ok      {name} ({time.time() - started:.1f} s)", flush=True)
            except Exception as error:  # Whatever goes wrong is this check's failure and not the end of the others.
                failed += 1
                print(f"FAILED  {name}: {error}", flush=True)
                if options.verbose:
                    traceback.print_exc()
                stage.shot(f"failed-{name}")
            finally:
                stage.close()
        browser.close()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed
