"""Health, metrics, tokens and templates, the pages of the server itself, and who may call from a browser."""

import json
import re

import pytest
import support
import wire

HELLO = [{"role": "user", "content": "Say hi"}]


def is_smollm2():
    return "smollm2" in support.model().lower()


def test_health():
    answer = wire.call("GET", "/health")
    assert answer.status == 200 and answer.json["status"] == "ok"


def test_metrics_are_what_prometheus_reads():
    support.post("/api/generate", {"model": support.model(), "prompt": "Hi", "stream": False, "options": {"num_predict": 4}})
    answer = wire.call("GET", "/metrics")
    assert answer.status == 200 and answer.kind.startswith("text/plain; version=0.0.4")
    assert answer.text.endswith("\n")
    typed = set(re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram|summary)$", answer.text, re.M))
    for line in answer.text.splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r'[a-zA-Z_:][\w:]*(\{([a-zA-Z_]\w*="([^"\\]|\\.)*",?)*\})? [-+\d.eE]+|.* (NaN|[+-]Inf)', line), line
            name = re.match(r"[\w:]+", line).group()
            assert {name, re.sub(r"_(bucket|sum|count)$", "", name)} & typed, f"{name} has no type"


def test_counters_count():
    body = {"model": support.model(), "prompt": "Hi", "stream": False, "options": {"num_predict": 5, "temperature": 0}}
    before = support.metrics()
    answer = wire.post("/api/generate", body).json
    # The counters move when the engine has let go of the request, a moment after the client has its answer.
    support.wait_until_idle()
    after = support.metrics()

    def moved(name):
        return after[f"ssd_llm_{name}"] - before[f"ssd_llm_{name}"]

    assert moved("generated_tokens_total") == answer["eval_count"]
    assert moved("prompt_tokens_total") == answer["prompt_eval_count"]
    assert moved("requests_total") == 1


def test_cancelled_requests_are_counted():
    before = support.metrics()["ssd_llm_requests_cancelled_total"]
    body = {"model": support.model(), "prompt": "Hi", "options": {"num_predict": 1000, "temperature": 1.5}}
    with wire.connect() as connection:
        connection.sendall(wire.request_bytes("POST", "/api/generate", body))
        connection.recv(64)
    support.wait_until_idle()
    assert support.metrics()["ssd_llm_requests_cancelled_total"] == before + 1


@pytest.mark.parametrize("path", ["/plan", "/stats"])
def test_pages_of_our_own_are_json_objects(path):
    answer = wire.call("GET", path)
    assert answer.status == 200 and isinstance(answer.json, dict)


def test_the_chat_page_is_html_where_a_browser_asks():
    """`/` is plain text for programs. A browser asks for HTML and may get a page; both are fine, nothing else is."""
    answer = wire.call("GET", "/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.status in (200, 302, 303, 307, 308)
    assert answer.status != 200 or answer.kind.startswith(("text/html", "text/plain"))


# -- tokens -------------------------------------------------------------------------------------------------------------


def tokens_of(text, **more):
    return wire.post("/tokenize", {"content": text, **more}).json["tokens"]


def test_tokenize_known_ids():
    if not is_smollm2():
        pytest.skip("the ids are SmolLM2's")
    assert tokens_of("Hello world") == [19556, 905]


TEXTS = ["", " ", "Hello world", "a\nb\tc", support.UNICODE_PROMPT, "naïve café", "1234567890", "👩‍👩‍👧‍👦", "  two  spaces  "]


@pytest.mark.parametrize("text", TEXTS)
def test_detokenize_undoes_tokenize(text):
    answer = wire.post("/detokenize", {"tokens": tokens_of(text)})
    assert answer.status == 200 and answer.json == {"content": text}


def test_tokenize_with_pieces():
    entries = tokens_of(support.UNICODE_PROMPT, with_pieces=True)
    joined = b"".join(
        bytes(entry["piece"]) if isinstance(entry["piece"], list) else entry["piece"].encode() for entry in entries
    )
    assert joined.decode() == support.UNICODE_PROMPT
    assert [entry["id"] for entry in entries] == tokens_of(support.UNICODE_PROMPT)


def test_special_tokens_are_parsed_unless_told_not_to():
    if not is_smollm2():
        pytest.skip("the marker is SmolLM2's")
    assert len(tokens_of("<|im_start|>")) == 1
    assert len(tokens_of("<|im_start|>", parse_special=False)) > 1


def test_apply_template():
    prompt = wire.post("/apply-template", {"messages": HELLO}).json["prompt"]
    assert "Say hi" in prompt
    if is_smollm2():
        assert prompt.endswith("<|im_start|>assistant\n")
        assert len(tokens_of(prompt)) == 32


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", b""),
        ("/tokenize", b"{bad"),
        ("/tokenize", {"content": 5}),
        ("/detokenize", {"tokens": "x"}),
        ("/detokenize", {"tokens": [10**12]}),
        ("/detokenize", {"tokens": [-1]}),
        ("/apply-template", {"messages": 5}),
        ("/apply-template", {}),
    ],
    ids=str,
)
def test_bad_requests_are_400(path, body):
    answer = wire.post(path, body)
    assert answer.status == 400 and answer.json["error"]


# -- browsers -----------------------------------------------------------------------------------------------------------

LOCAL = ["http://localhost", "http://localhost:3000", "http://127.0.0.1:8080", "https://localhost:5173"]
FOREIGN = ["http://evil.example", "http://localhost.evil.example", "null", "https://127.0.0.1.evil.example"]
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, authorization"}


@pytest.mark.parametrize("origin", LOCAL)
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
def test_preflight_of_a_local_page(path, origin):
    answer = wire.call("OPTIONS", path, headers={"Origin": origin, **PREFLIGHT})
    assert answer.status in (200, 204) and answer.body == b""
    assert answer.headers["access-control-allow-origin"] in (origin, "*")
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert "content-type" in allowed and "authorization" in allowed


def test_preflight_has_no_content():
    """Ollama's status for it."""
    assert wire.call("OPTIONS", "/api/chat", headers={"Origin": LOCAL[0], **PREFLIGHT}).status == 204


@pytest.mark.parametrize("origin", LOCAL)
def test_answers_to_a_local_page_name_its_origin(origin):
    answer = wire.call("GET", "/api/tags", headers={"Origin": origin})
    assert answer.status == 200 and answer.headers["access-control-allow-origin"] in (origin, "*")


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_page_may_not_read(origin):
    for method, path in (("OPTIONS", "/api/chat"), ("GET", "/api/tags")):
        answer = wire.call(method, path, headers={"Origin": origin, **(PREFLIGHT if method == "OPTIONS" else {})})
        assert answer.headers.get("access-control-allow-origin") not in (origin, "*")


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_page_may_not_make_the_server_work(origin):
    """A page can send a form-typed POST without a preflight; the answer is hidden from it, the work must be refused too."""
    body = json.dumps({"model": support.model(), "prompt": "Hi", "stream": False}).encode()
    answer = wire.post("/api/generate", body, {"Origin": origin, "Content-Type": "text/plain"})
    assert answer.status == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:11434", "169.254.169.254.evil.example"])
def test_a_foreign_host_is_refused(host):
    """A name that an attacker points at 127.0.0.1 is how pages get around the origin check."""
    assert wire.call("GET", "/api/tags", headers={"Host": host}).status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:11434", "127.0.0.1", "[::1]:11434", "app.localhost", "host.docker.internal:11434"])
def test_local_hosts_are_served(host):
    assert wire.call("GET", "/api/tags", headers={"Host": host}).status == 200
