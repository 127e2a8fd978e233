"""Tests of the chat page in headless Chromium.

    scripts/page-tests.sh                                  sets up what is needed and runs this
    test_page.py --url http://127.0.0.1:11434              against a real server: the checks that make sense there
    test_page.py --only axe --shots DIR                    some of them, with screenshots

The story: a person writes, reads along, stops, tries again, comes back after a reload or a restart of the server, and finds
everything where it was, with a keyboard or a screen reader too, and whatever the model writes.
"""

import argparse
import json
import pathlib
import re
import sys

import fake_server
from harness import DESKTOP, PHONE, check, run, until
from playwright.sync_api import expect

STORY = "Write a long story about a river, with at least ten paragraphs."


# Sending, streaming, stopping.


@check(real=True)
def sends_and_streams(stage):
    page = stage.connect()
    stage.shot("empty")
    stage.send("endless" if not stage.real else STORY)
    first = stage.wait_text(20)
    assert page.locator("#stop").is_visible() and page.locator("#send").is_hidden()
    stage.wait_text(len(first) + 40)
    expect(page.locator(".status")).to_contain_text("Writing")
    page.locator("#stop").click()
    stage.wait_done()
    expect(page.locator("#prompt")).to_be_focused()


@check(real=True)
def shows_what_an_answer_took(stage):
    stage.connect()
    stage.ask("Say hello in five words." if stage.real else "hello")
    figures = stage.answer().locator(".figures").inner_text()
    for part in (r"[\d.]+ tokens/s", r"\d+ tokens", r"prompt \d+ tokens", r"first token after [\d.]+ s"):
        assert re.search(part, figures), f"{part} is not in {figures!r}"
    if not stage.real:
        assert "33.1 tokens/s" in figures, figures
        expect(stage.answer().locator("strong")).to_have_text("streamed")


@check(real=True)
def escape_stops_and_keeps(stage):
    page = stage.connect()
    stage.send("endless" if not stage.real else STORY)
    stage.wait_text(30)
    page.keyboard.press("Escape")
    stage.wait_done()
    text = stage.answer().locator(".text").inner_text()
    assert len(text) >= 30
    expect(stage.answer().locator(".trouble")).to_contain_text("Stopped")
    if not stage.real:
        until(lambda: stage.server.cancelled == 1, "the server noticing that nobody listens")
    page.reload()
    assert stage.answer().locator(".text").inner_text() == text


@check()
def stopping_before_the_first_word(stage):
    page = stage.connect()
    stage.send("wait")
    expect(page.locator(".status")).to_contain_text("Reading the prompt")
    page.keyboard.press("Escape")
    stage.wait_done()
    expect(stage.answer().locator(".trouble")).to_have_text("Stopped before the answer began.")


@check()
def enter_lines_and_input_methods(stage):
    page = stage.connect()
    prompt = page.locator("#prompt")
    prompt.press("Enter")
    assert not stage.server.chats, "an empty message was sent"
    prompt.type("one")
    prompt.press("Shift+Enter")
    prompt.type("two")
    assert prompt.input_value() == "one\ntwo"
    for event in ({"isComposing": True}, {"keyCode": 229}):
        page.evaluate("event => document.getElementById('prompt').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...event }))", event)
    page.wait_for_timeout(100)
    assert not stage.server.chats, "Enter that belongs to an input method sent the message"
    prompt.press("Enter")
    stage.wait_done()
    assert stage.server.chats[0]["messages"] == [{"role": "user", "content": "one\ntwo"}]
    expect(page.locator(".question .text")).to_have_text("one\ntwo")


@check()
def says_that_the_limit_cut_it(stage):
    stage.connect()
    stage.ask("length")
    expect(stage.answer().locator(".trouble")).to_contain_text("Cut off: the limit of tokens was reached (length).")


@check()
def thoughts_fold_away(stage):
    page = stage.connect()
    stage.ask("think")
    details = stage.answer().locator("details")
    assert details.get_attribute("open") is None
    details.locator("summary").click()
    expect(details.locator(".thoughts")).to_be_visible()
    assert details.locator(".thoughts").inner_text().startswith("First I look at the question.")
    stage.shot("thinking")
    stage.ask("echo")
    assert "First I look" not in json.dumps(stage.server.chats[-1]), "thoughts were sent back"
    assert page.locator(".answer").count() == 2


@check()
def settings_reach_the_server(stage):
    page = stage.connect()
    page.locator("#open-settings").click()
    page.locator("#setting-system").fill("You are brief.")
    values = {"temperature": "0.7", "top_k": "40", "top_p": "0.9", "min_p": "0.05", "seed": "7", "num_predict": "99", "repeat_penalty": "1.1"}
    for name, value in values.items():
        page.locator(f"#setting-{name}").fill(value)
    page.locator("#setting-stop").fill("END\n\n###")
    stage.shot("settings")
    page.locator("#settings button[type=submit]").click()
    stage.ask("hello")
    sent = stage.server.chats[-1]
    assert sent["options"] == {**{name: float(value) for name, value in values.items()}, "stop": ["END", "###"]}, sent
    assert sent["messages"][0] == {"role": "system", "content": "You are brief."}
    page.reload()
    page.locator("#open-settings").click()
    expect(page.locator("#setting-temperature")).to_have_value("0.7")
    page.locator("#reset-settings").click()
    page.locator("#settings button[type=submit]").click()
    stage.ask("again")
    assert stage.server.chats[-1]["options"] == {}
    page.locator("#open-settings").click()
    page.locator("#setting-temperature").fill("9")
    page.locator("#settings button[type=submit]").click()
    expect(page.locator("#settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    page.locator("#model").select_option(index=1)
    stage.ask("with another model")
    assert stage.server.chats[-1]["model"].startswith("another-model")


# Trying again and changing.


@check(real=True)
def retry_replaces_the_answer(stage):
    page = stage.connect()
    stage.ask("Name one colour." if stage.real else "hello")
    page.get_by_role("button", name="Retry").click()
    stage.wait_done()
    assert (page.locator(".answer").count(), page.locator(".question").count()) == (1, 1)
    if not stage.real:
        assert stage.server.chats[0] == stage.server.chats[1], "the second try was told something else"


@check()
def a_retry_that_fails_brings_the_answer_back(stage):
    page = stage.connect()
    text = stage.ask("hello").locator(".text").inner_text()
    stage.allow()
    stage.server.stop()
    page.get_by_role("button", name="Retry").click()
    stage.wait_done()
    expect(stage.answer().locator(".text")).to_have_text(text)
    expect(stage.answer().locator(".trouble")).to_contain_text("answer from before")


@check()
def the_last_message_can_be_changed(stage):
    page = stage.connect()
    stage.ask("hello")
    stage.ask("hello again")
    page.get_by_role("button", name="Edit").click()
    expect(page.locator("#prompt")).to_have_value("hello again")
    page.keyboard.press("Escape")
    expect(page.locator("#editing")).to_be_hidden()
    page.get_by_role("button", name="Edit").click()
    stage.ask("changed")
    said = [(one["role"], one["content"]) for one in stage.server.chats[-1]["messages"]]
    assert said == [("user", "hello"), ("assistant", fake_server.SHORT), ("user", "changed")], said
    assert page.locator(".question").count() == 2


# Reloads, restarts, failures.


@check(real=True)
def survives_a_reload(stage):
    page = stage.connect()
    text = stage.ask("Name three rivers." if stage.real else "markdown").locator(".text").inner_text()
    page.locator("#prompt").fill("not sent yet")
    page.reload()
    assert stage.answer().locator(".text").inner_text() == text
    expect(page.locator("#prompt")).to_have_value("not sent yet")
    expect(page.locator("#connection-words")).to_have_text("Connected")


@check(real=True)
def a_reload_in_the_middle_keeps_what_came(stage):
    page = stage.connect()
    stage.send("endless" if not stage.real else STORY)
    text = stage.wait_text(60)
    page.reload()
    kept = stage.answer().locator(".text").inner_text()
    assert kept[:40] == text[:40] and len(kept) >= 60, (kept, text)
    expect(stage.answer().locator(".trouble")).to_contain_text("closed or reloaded")
    if not stage.real:
        until(lambda: stage.server.cancelled == 1, "the server noticing that nobody listens")
        page.get_by_role("button", name="Retry").click()
        stage.wait_text(20)
        page.keyboard.press("Escape")


@check()
def a_restart_of_the_server_in_the_middle(stage):
    page = stage.connect()
    stage.send("endless")
    stage.wait_text(40)
    stage.allow()
    stage.server.stop()
    stage.wait_done()
    expect(stage.answer().locator(".trouble")).to_contain_text("went away in the middle of the answer. What had come of the answer is kept.")
    expect(page.locator("#connection-words")).to_have_text("Server away, trying again")
    assert len(stage.answer().locator(".text").inner_text()) >= 40
    stage.shot("server-away")
    stage.server.start()
    expect(page.locator("#connection-words")).to_have_text("Connected", timeout=60_000)
    page.get_by_role("button", name="Retry").click()
    stage.wait_text(40)
    page.keyboard.press("Escape")
    stage.wait_done()
    assert stage.ask("hello").locator(".trouble").is_hidden()


@check()
def sending_while_the_server_is_away(stage):
    page = stage.connect()
    stage.allow()
    stage.server.stop()
    stage.ask("hello")
    expect(stage.answer().locator(".trouble")).to_have_text("The server cannot be reached.")
    stage.server.start()
    page.get_by_role("button", name="Retry").click()
    expect(stage.answer().locator(".text")).to_contain_text("streamed")
    expect(stage.answer().locator(".trouble")).to_be_hidden()


@check()
def a_page_that_starts_before_its_server(stage):
    page = stage.connect()
    stage.ask("hello")
    stage.allow()
    # The page itself comes from the browser's cache here, its questions do not.
    page.route("**/api/**", lambda route: route.abort())
    page.route("**/stats", lambda route: route.abort())
    page.reload()
    expect(page.locator("#connection-words")).to_have_text("Server away, trying again")
    expect(stage.answer().locator(".text")).to_contain_text("streamed")
    page.unroute_all()
    expect(page.locator("#connection-words")).to_have_text("Connected", timeout=60_000)


@check()
def failures_of_the_server_are_said(stage):
    page = stage.connect()
    stage.allow()
    cases = {
        "broken": "Input/output error. What had come of the answer is kept.",
        "quiet": "The connection ended before the answer did.",
        "drop": "in the middle of the answer",
        "refuse": "the prompt has 9,000 tokens, but the context has 2,048",
    }
    for word, text in cases.items():
        page.locator("#new-chat").click()
        stage.ask(word)
        expect(stage.answer().locator(".trouble")).to_contain_text(text)
        if word == "broken":
            stage.shot("error")
    stage.ask("hello")
    turns = [one["role"] for one in stage.server.chats[-1]["messages"]]
    assert turns == ["user"], f"two questions in a row became {turns}, which strict templates refuse"


@check()
def asks_for_a_key(stage):
    stage.server.key = "secret"
    stage.allow(r"status of 401")
    page = stage.open()
    expect(page.locator("#ask")).to_be_visible()
    stage.shot("key")
    page.locator("#ask-input").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#connection-words")).to_have_text("Key needed")
    page.locator("#connection").click()
    page.locator("#ask-input").fill("secret")
    page.keyboard.press("Enter")
    expect(page.locator("#connection-words")).to_have_text("Connected")
    stage.ask("hello")
    page.reload()
    expect(page.locator("#connection-words")).to_have_text("Connected")
    assert "secret" not in page.evaluate("JSON.stringify(localStorage)")
    stage.server.key = "another"
    stage.send("hello")
    expect(page.locator("#ask")).to_be_visible()
    page.locator("#ask-input").fill("another")
    page.keyboard.press("Enter")
    expect(stage.answer().locator(".text")).to_contain_text("streamed")
    assert page.locator(".question").count() == 2


# Conversations.


@check()
def several_conversations(stage):
    page = stage.connect()
    stage.ask("hello first")
    page.locator("#new-chat").click()
    expect(page.locator(".message")).to_have_count(0)
    stage.ask("hello second")
    names = page.locator("#conversations .name")
    assert names.all_inner_texts() == ["hello second", "hello first"]
    names.nth(1).click()
    expect(page.locator(".question .text")).to_have_text("hello first")
    expect(page.locator("#conversations a[aria-current] .name")).to_have_text("hello first")
    page.go_back()
    expect(page.locator(".question .text")).to_have_text("hello second")

    page.locator("#open-menu").click()
    page.locator("#rename").click()
    page.locator("#ask-input").fill("A better name")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("A better name")
    page.reload()
    expect(page.locator("#title")).to_have_text("A better name")

    for kind in ("json", "markdown"):
        page.locator("#open-menu").click()
        with page.expect_download() as download:
            page.locator(f"#export-{kind}").click()
        text = pathlib.Path(download.value.path()).read_text()
        assert download.value.suggested_filename == {"json": "a-better-name.json", "markdown": "a-better-name.md"}[kind]
        if kind == "json":
            assert [one["role"] for one in json.loads(text)["messages"]] == ["user", "assistant"]
        else:
            assert text.startswith("# A better name\n\n## You\n\nhello second\n\n## SmolLM2"), text

    page.locator("#open-menu").click()
    stage.shot("menu")
    page.locator("#delete").click()
    page.keyboard.press("Escape")
    assert names.count() == 2
    page.locator("#open-menu").click()
    page.locator("#delete").click()
    page.keyboard.press("Enter")
    expect(names).to_have_text(["hello first"])
    expect(page.locator(".message")).to_have_count(0)


@check()
def an_answer_goes_on_in_the_background(stage):
    page = stage.connect()
    stage.send("markdown")
    stage.wait_text(20)
    page.locator("#new-chat").click()
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator("#conversations .when").first).to_have_text("writing")
    stage.ask("hello")
    expect(page.locator("#conversations .when", has_text="writing")).to_have_count(0)
    page.locator("#conversations a", has_text="markdown").click()
    expect(stage.answer().locator(".text")).to_contain_text("Last words")


@check()
def damaged_and_full_storage(stage):
    page = stage.connect()
    stage.ask("hello")
    page.evaluate("""() => {
        localStorage.setItem('ssd-llm.conversation.bad', '{"title": "cut sho');
        localStorage.setItem('ssd-llm.conversation.odd', '{"messages": [null, 3, {"role": "x"}, {"role": "user", "content": 7}], "options": {"temperature": "hot"}, "title": {}}');
        localStorage.setItem('ssd-llm.options', 'nonsense');
    }""")
    page.reload()
    expect(page.locator("#conversations a")).to_have_count(2)
    expect(page.locator("#notices")).to_contain_text("1 stored conversation is damaged")
    stage.shot("notice")
    page.locator("#conversations a").last.click()
    page.get_by_role("button", name="Delete what is damaged").click()
    assert page.evaluate("localStorage.getItem('ssd-llm.conversation.bad')") is None
    page.evaluate("localStorage.setItem('filler', 'x'.repeat(5 * 1024 * 1024 - JSON.stringify(localStorage).length - 2000))")
    page.evaluate("""() => { for (let n = 1 << 16; n >= 1; n >>= 1) { try {
        localStorage.setItem('filler', localStorage.getItem('filler') + 'x'.repeat(n)); } catch {} } }""")
    page.locator("#new-chat").click()
    stage.ask("markdown")
    expect(page.locator("#notices")).to_contain_text("storage is full")
    expect(stage.answer().locator(".text")).to_contain_text("Last words")
    page.evaluate("localStorage.removeItem('filler')")
    stage.ask("hello")
    expect(page.locator("#notices")).to_be_empty()


@check()
def two_tabs(stage):
    first = stage.connect()
    stage.send("endless")
    stage.wait_text(40)
    until(lambda: first.evaluate("Object.keys(localStorage).some(key => key.includes('answering'))"), "the claim")
    second = stage.open(first.url.split("/")[-1], stage.context.new_page())
    expect(second.locator(".trouble")).to_have_text("This answer is being written in another tab.")
    stage.send("me too", second)
    second.wait_for_timeout(200)
    assert len(stage.server.chats) == 1, "two tabs wrote to one conversation"
    first.keyboard.press("Escape")
    expect(second.locator(".trouble")).to_have_text("Stopped before the end.")
    expect(second.locator("#prompt")).to_have_value("me too")
    stage.ask("hello", second)
    expect(first.locator(".question")).to_have_count(2)
    expect(first.locator(".answer").last).to_contain_text("streamed")
    second.locator("#open-menu").click()
    second.locator("#delete").click()
    second.locator("#ask-yes").click()
    expect(first.locator("#notices")).to_contain_text("deleted in another tab")
    expect(first.locator("#conversations a")).to_have_count(0)


# Markdown, and what it must not do.


@check()
def markdown_becomes_elements(stage):
    page = stage.connect()
    text = stage.ask("markdown").locator(".text")
    for selector, words in {
        "h3": "Heading one", "h4": "Lists", "p > em": "emphasis", "p > strong": "strong words", "del": "gone", "p > code": "code",
        "ol > li:nth-child(2) > ul > li > ul > li": "deeper", "ol > li:nth-child(2) > p:last-child": "a paragraph in the item",
        "blockquote li": "with a list", "td.to-end": "3,145,728", "td.to-center > strong": "SSD",
        ".code-head span": "rust", "p:last-child > a": "Image: a picture",
    }.items():
        expect(text.locator(selector).first).to_have_text(words)
    assert "Snake_case_stays, 2 * 3 * 4" in text.inner_text()
    links = text.locator("a").evaluate_all("links => links.map(({ href, rel, target }) => [href, rel, target])")
    assert [href for href, *_ in links] == ["https://example.org/a_(b)?q=1", "https://example.org/bare_link", "https://example.org/picture.png"], links
    assert all(rest == ["noopener noreferrer", "_blank"] for _, *rest in links)
    stage.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy this code in rust").click()
    until(lambda: "fn main() {" in page.evaluate("navigator.clipboard.readText()"), "code in the clipboard")
    page.get_by_role("button", name="Copy this answer").click()
    until(lambda: page.evaluate("navigator.clipboard.readText()") == fake_server.MARKDOWN, "the answer in the clipboard")
    stage.shot("markdown")


@check()
def hostile_answers_do_nothing(stage):
    page = stage.connect()
    stage.ask("xss")
    text = page.locator(".answer .text").first
    stage.ask("<img src=x onerror=window.hit=1> <script>window.hit=1</script>")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hit") is None, "a script of the model ran"
    assert text.locator("script, img, iframe, style, svg, base, details, math, object, form, [onerror], [onload], [ontoggle], [style]").count() == 0
    hrefs = text.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert hrefs and all(re.match(r"(https?:|mailto:)", href) for href in hrefs), hrefs
    assert page.locator("#conversations img, #title img").count() == 0
    assert stage.hosts == {stage.url.split("/")[2]}, f"the page asked {stage.hosts}"
    stage.shot("hostile")


@check()
def growing_text_looks_like_whole_text(stage):
    page = stage.connect()
    different = page.evaluate(
        """async texts => {
            const { MarkdownView } = await import(new URL('page/markdown.js', location.href));
            const view = () => new MarkdownView(document.createElement('div'));
            const different = [];
            let seed = 7;
            const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
            for (const text of texts) {
                const whole = view();
                whole.finish(text);
                for (const most of [1, 2, 7, 40, 300]) {
                    const grown = view();
                    for (let at = 0; at < text.length; at += 1 + Math.floor(random() * most)) grown.grow(text.slice(0, at));
                    grown.finish(text);
                    if (grown.root.innerHTML !== whole.root.innerHTML) different.push([most, text.slice(0, 60), grown.root.innerHTML, whole.root.innerHTML]);
                }
            }
            return different;
        }""",
        [fake_server.MARKDOWN, fake_server.XSS, fake_server.long_answer(700), "a\n#5 b\n-\n- c\n1\n1. d\n\n```\nx\n\ny", "- a\n\n  ```\n  b\n\n  c\n  ```\n- d\n> e\nf\n***\ng|h\n-|-\ni|j\nk", "1. a\n- b\n\n\n2. c\n   d\n\n\te\n~~~x\n```\n~~~\nf"],
    )
    assert not different, f"{len(different)} differ, for example {different[0]}"


@check()
def hostile_markdown_takes_no_time(stage):
    page = stage.connect()
    texts = {
        "brackets": "[" * 40_000, "images": "![" * 20_000 + "a" + "](https://x.y)" * 20_000, "stars": "*a **b " * 8_000, "closers": "a* b** " * 8_000,
        "pairs": "*" * 40_000 + "a" + "*" * 40_000, "nested": "".join("*a " if n % 2 else "_b " for n in range(8_000)) + "".join("c* " if n % 2 == 0 else "d_ " for n in range(8_000)),
        "ticks": "".join("`" * (n % 300) + "a" for n in range(600)), "quotes": ">" * 20_000 + "a", "deep list": "\n".join(" " * (2 * n) + "- a" for n in range(300)),
        "spaces": "# " + " " * 60_000 + "x", "hashes": "# " + "#" * 60_000 + "x", "pipes": "|" * 30_000 + "\n" + "|-" * 30_000, "rule": "- " * 30_000 + "x",
        "blank code in a list": "- ```\n" + "\n  x\n" * 8_000, "links": "https://a.b/" + ")" * 30_000, "entities": "&" * 60_000, "angles": "<http://a" * 8_000,
        "targets": "[a](" * 12_000, "tables": "a|b\n-|-\n" * 6_000, "backslashes": "\\" * 60_000, "tabs": "\t" * 30_000 + "- a",
    }
    took = page.evaluate(
        """async texts => {
            const { MarkdownView } = await import(new URL('page/markdown.js', location.href));
            const took = {};
            for (const [name, text] of Object.entries(texts)) {
                const started = performance.now();
                new MarkdownView(document.createElement('div')).finish(text);
                took[name] = performance.now() - started;
            }
            return took;
        }""",
        texts,
    )
    slow = {name: round(ms) for name, ms in took.items() if ms > 2000}
    assert not slow, f"in ms: {slow}"


@check()
def long_answers_leave_the_page_responsive(stage):
    page = stage.connect()
    for word in ("long", "list", "line"):
        page.locator("#new-chat").click()
        page.evaluate("""() => { window.gaps = []; let last = performance.now(); clearInterval(window.ticker);
            window.ticker = setInterval(() => { const now = performance.now(); window.gaps.push(now - last); last = now; }, 10); }""")
        stage.send(word)
        stage.wait_text(2000)
        page.locator("#prompt").type("typed meanwhile")
        expect(page.locator("#stop")).to_be_hidden(timeout=120_000)
        gaps = sorted(page.evaluate("window.gaps"))
        assert page.locator("#prompt").input_value() == "typed meanwhile"
        usual, worst = gaps[len(gaps) * 99 // 100], gaps[-1]
        print(f"        {word}: the page was held up for {worst:.0f} ms at most, 99% of the time under {usual:.0f} ms")
        assert usual < 200 and worst < 2000, f"{word}: held up for {worst:.0f} ms, 99% under {usual:.0f} ms"


@check()
def scrolls_along_only_at_the_end(stage):
    page = stage.connect()
    stage.send("endless")
    until(lambda: page.evaluate("document.getElementById('scroll').scrollTop") > 100, "enough to scroll", 30)
    at_end = "(() => { const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight < 60; })()"
    assert page.evaluate(at_end)
    page.locator("#scroll").hover()
    page.mouse.wheel(0, -80)
    page.wait_for_timeout(300)
    before = page.evaluate("document.getElementById('scroll').scrollTop")
    length = len(stage.answer().inner_text())
    until(lambda: len(stage.answer().inner_text()) > length + 400, "more text")
    assert page.evaluate("document.getElementById('scroll').scrollTop") == before, "the page scrolled away from the reader"
    page.locator("#to-newest").click()
    page.wait_for_timeout(200)
    until(lambda: page.evaluate(at_end), "the end")
    length = len(stage.answer().inner_text())
    until(lambda: len(stage.answer().inner_text()) > length + 400, "more text")
    assert page.evaluate(at_end)
    page.keyboard.press("Escape")
    stage.wait_done()


# The engine's view.


@check()
def the_engine_is_shown(stage):
    page = stage.connect()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/stats") else None)
    page.locator("#toggle-live").click()
    stage.send("endless")
    live = page.locator("#live")
    for words in ("tokens/s", "GB/s read", re.compile(r"waiting for the SSD \(stall\) [56]\d%"), "33.9 tokens/s predicted for one answer, 3", "pinned in memory 42.7 MiB, 46%",
                  "streamed every pass 49.8 MiB", "1 writing", "256 pages of 44.0 KiB", "kept for prompts to come 40", "Budget 72.0 MiB"):
        expect(live).to_contain_text(words)
    assert live.locator("svg rect.pinned").count() + live.locator("svg rect.streamed").count() == 32
    assert page.locator("#live .sweep").is_visible()
    page.wait_for_timeout(4000)
    stage.shot("live-light")
    page.keyboard.press("Escape")
    stage.wait_done()
    n = len(asked)
    page.wait_for_timeout(3100)
    assert 2 <= len(asked) - n <= 4, f"{len(asked) - n} questions in three seconds"
    expect(live).to_contain_text("Nothing to do.")
    page.locator("#close-live").click()
    expect(page.locator("#toggle-live")).to_be_focused()
    page.wait_for_timeout(300)
    n = len(asked)
    page.wait_for_timeout(2200)
    assert len(asked) - n <= 1, "it asks although nobody looks"
    page.locator("#toggle-live").click()
    stage.allow()
    stage.server.stop()
    expect(page.locator("#live-state")).to_have_text("No answer")
    n = len(asked)
    page.wait_for_timeout(4000)
    assert len(asked) - n <= 4, "it does not back off"
    stage.shot("live-away")
    stage.server.start()
    expect(page.locator("#live-state")).to_have_text("Ready", timeout=60_000)
    page.reload()
    expect(live).to_be_visible()


@check()
def sparse_stats_break_nothing(stage):
    page = stage.connect()
    page.route("**/stats", lambda route: route.fulfill(json={"model": {"name": "m"}, "state": "loading", "plan": {"predicted_tokens_per_second": None}, "layers": []}))
    page.locator("#toggle-live").click()
    expect(page.locator("#live-state")).to_have_text("Loading")
    expect(page.locator("#live")).to_contain_text("No prediction yet.")
    expect(page.locator("#connection-words")).to_have_text("Loading the model")
    assert "NaN" not in page.locator("body").inner_text() and "undefined" not in page.locator("body").inner_text()


@check(real=True)
def the_engine_is_shown_for_real(stage):
    page = stage.connect()
    page.locator("#toggle-live").click()
    stage.send(STORY if stage.real else "endless")
    stage.wait_text(200)
    expect(page.locator("#live .verdict")).to_contain_text("measured")
    text = page.locator("#live").inner_text()
    assert "NaN" not in text and "undefined" not in text, text
    stage.shot("live-real" if stage.real else "live")
    page.keyboard.press("Escape")
    stage.wait_done()


# Everybody can use it.


@check()
def everything_by_keyboard(stage):
    page = stage.connect()
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("endless by keyboard")
    page.keyboard.press("Enter")
    stage.wait_text(20)
    page.keyboard.press("Escape")
    stage.wait_done()
    expect(page.locator("#prompt")).to_be_focused()

    def tab_to(selector, most=40):
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none" or selector.startswith("#themes"), f"{selector} has the focus but does not show it"
                return
        raise AssertionError(f"Tab does not reach {selector}")

    for selector in (".skip", "#new-chat", "#conversations a", "#themes input", "#open-settings", "#toggle-live", "#open-menu", "#scroll", ".question button", ".answer button", "#connection", "#model"):
        tab_to(selector)
    tab_to("#open-menu")
    page.keyboard.press("Enter")
    expect(page.locator("#rename")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#open-menu")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.type("Named by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("Named by keyboard")
    tab_to("#open-settings")
    page.keyboard.press("Enter")
    expect(page.locator("#setting-system")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#open-settings")).to_be_focused()
    tab_to("#toggle-live")
    page.keyboard.press("Space")
    expect(page.locator("#live")).to_be_visible()
    tab_to("#close-live")
    page.keyboard.press("Enter")
    expect(page.locator("#toggle-live")).to_be_focused()
    tab_to(".skip")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_focused()
    tab_to("#new-chat")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator(".message")).to_have_count(0)


@check()
def screen_readers_are_not_flooded(stage):
    page = stage.connect()
    page.evaluate("""() => { window.said = [];
        const watch = new MutationObserver(() => { const text = document.getElementById('announcer').textContent; if (text) window.said.push(text); });
        watch.observe(document.getElementById('announcer'), { childList: true, subtree: true, characterData: true }); }""")
    stage.ask("markdown")
    page.wait_for_timeout(300)
    said = page.evaluate("window.said")
    assert said[0] == "The answer begins." and said[-1].startswith("The answer is complete:") and len(said) == 2, said
    assert page.locator("[aria-live], [role=log], [role=alert], [role=status]").count() == 1, "another part of the page speaks too"
    expect(stage.answer()).to_have_attribute("aria-busy", "false")


@check(real=True)
def axe_finds_nothing_serious(stage):
    page = stage.connect()
    stage.ask("Write a list of three rivers and a short Rust program." if stage.real else "markdown")
    if not stage.real:
        stage.ask("broken")
        stage.ask("think")
    minor = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name, size in {"desktop": DESKTOP, "phone": PHONE}.items():
            what = f"{name}-{scheme}"
            page.set_viewport_size(size)
            minor.update(stage.axe(what))
            stage.shot(f"chat-{what}")
            page.locator("#toggle-live").click()
            expect(page.locator("#live .verdict")).to_be_visible()
            minor.update(stage.axe(f"{what} with the engine"))
            stage.shot(f"engine-{what}")
            page.locator("#close-live").click()
            page.locator("#open-settings").click()
            minor.update(stage.axe(f"{what} with settings"))
            stage.shot(f"settings-{what}")
            page.keyboard.press("Escape")
            page.locator("#open-menu").click()
            minor.update(stage.axe(f"{what} with the menu"))
            page.locator("#delete").click()
            minor.update(stage.axe(f"{what} with a question"))
            page.keyboard.press("Escape")
            if name == "phone":
                page.locator("#open-sidebar").click()
                minor.update(stage.axe(f"{what} with the list"))
                stage.shot(f"list-{what}")
                page.keyboard.press("Escape")
                expect(page.locator("#open-sidebar")).to_be_focused()
    if minor:
        print(f"        axe calls moderate or minor: {sorted(minor)}")


@check()
def fits_on_any_width(stage):
    page = stage.connect()
    stage.ask("markdown")
    stage.ask("broken " + "averylongwordwithoutanybreaks" * 9)
    for width in (320, 360, 480, 760, 899, 901, 1100, 1600):
        page.set_viewport_size({"width": width, "height": 640})
        page.wait_for_timeout(100)
        for opened in (None, "#toggle-live"):
            if opened:
                page.locator(opened).click()
            over = page.evaluate("""() => [...document.querySelectorAll('body *')].filter(node => {
                const box = node.getBoundingClientRect();
                return box.width > 0 && box.right > innerWidth + 1 && getComputedStyle(node).visibility === 'visible' && !node.closest('.hidden, .code pre, .table, .layers, svg, .skip');
            }).map(node => node.outerHTML.slice(0, 80))""")
            assert not over, f"{width} px: {over[:3]}"
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth && document.getElementById('scroll').scrollWidth <= document.getElementById('scroll').clientWidth")
            if opened:
                if width in (320, 901):
                    stage.shot(f"engine-{width}")
                page.locator("#close-live").click()
        if width in (320, 760):
            stage.shot(f"chat-{width}")


@check()
def colours_can_be_chosen(stage):
    page = stage.connect()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#themes input[value=dark]").check()
    dark = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == dark
    stage.shot("empty-dark")
    page.locator("#themes input[value=system]").check()
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == dark


@check()
def less_motion_when_asked(stage):
    page = stage.connect()
    page.emulate_media(reduced_motion="reduce")
    page.locator("#toggle-live").click()
    stage.send("endless")
    stage.wait_text(20)
    expect(page.locator("#live")).to_contain_text("1 writing")
    moving = page.evaluate("document.getAnimations().filter(one => one.playState === 'running').length")
    assert moving == 0, f"{moving} things move"
    page.keyboard.press("Escape")
    stage.wait_done()


# The files themselves.


@check()
def the_assets_are_small_and_name_no_sinks(stage):
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|https?://(?!www\.w3\.org)"
    size = 0
    for path in fake_server.ASSETS.iterdir():
        text = path.read_text()
        size += len(text.encode())
        found = re.search(sinks, re.sub(r"/https\?.*/y;", "", text))
        assert not found, f"{path.name} has {found.group()}"
    print(f"        {size} bytes in {len(list(fake_server.ASSETS.iterdir()))} files")
    assert size < 120_000, f"{size} bytes of assets"
    assert stage.open().title() == "ssd-llm"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="a real server; without it, one that makes answers up")
    parser.add_argument("--only", nargs="*", help="checks whose names contain one of these")
    parser.add_argument("--shots", help="folder for screenshots")
    parser.add_argument("--verbose", action="store_true", help="where each failure came from")
    options = parser.parse_args()
    if options.shots:
        pathlib.Path(options.shots).mkdir(parents=True, exist_ok=True)
    sys.exit(1 if run(options) else 0)


if __name__ == "__main__":
    main()
