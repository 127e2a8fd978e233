"""The Anthropic API as bytes: the order of events, what each carries, and error objects."""

import json

import pytest
import support
import wire

HELLO = [{"role": "user", "content": "Say hello."}]
PATH = "/v1/messages"


def message(**more):
    return {"model": support.model(), "messages": HELLO, "temperature": 0, "max_tokens": 6, **more}


def test_object():
    answer = wire.post(PATH, message())
    assert answer.status == 200 and answer.kind.startswith("application/json")
    assert set(answer.json) >= {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
    assert answer.json["stop_reason"] == "max_tokens" and answer.json["stop_sequence"] is None
    assert answer.json["usage"]["output_tokens"] == 6


def test_events():
    answer = wire.post(PATH, message(stream=True))
    assert answer.status == 200 and answer.kind.startswith("text/event-stream") and len(answer.chunks) > 2
    events = [(name, json.loads(data)) for name, data in answer.events]
    assert all(name == event["type"] for name, event in events), "every event is named by its type"
    kinds = [name for name, _ in events if name != "ping"]
    assert kinds[0] == "message_start" and kinds[1] == "content_block_start"
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    by_name = dict(reversed(events))
    start = by_name["message_start"]["message"]
    assert start["role"] == "assistant" and start["content"] == [] and start["stop_reason"] is None
    assert start["usage"]["input_tokens"] > 0 and "output_tokens" in start["usage"]
    assert by_name["content_block_start"]["content_block"] == {"type": "text", "text": ""}
    assert by_name["message_delta"]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert by_name["message_delta"]["usage"]["output_tokens"] == 6
    assert b"[DONE]" not in answer.body


def test_as_claude_code_calls():
    """System blocks under cache control, beta query and headers, a key in x-api-key, and an empty list of tools."""
    body = message(
        system=[{"type": "text", "text": "You are a coder.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}],
        metadata={"user_id": "someone"},
        tools=[],
        stream=True,
    )
    headers = {
        "x-api-key": "unused",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
        "anthropic-dangerous-direct-browser-access": "true",
        "User-Agent": "claude-cli/2.0.0 (external, cli)",
    }
    answer = wire.post(f"{PATH}?beta=true", body, headers)
    assert answer.status == 200 and answer.events[-1][0] == "message_stop"


def test_bearer_token_is_accepted():
    assert wire.post(PATH, message(), {"Authorization": "Bearer unused"}).status == 200


def test_count_tokens():
    answer = wire.post(f"{PATH}/count_tokens", {"model": support.model(), "messages": HELLO})
    assert answer.status == 200 and answer.json == {"input_tokens": support.n_prompt_tokens(HELLO)}


ERRORS = {
    "no max_tokens": ({"model": "MODEL", "messages": HELLO}, 400, "invalid_request_error"),
    "max_tokens below zero": ({"model": "MODEL", "messages": HELLO, "max_tokens": -5}, 400, "invalid_request_error"),
    "no messages": ({"model": "MODEL", "max_tokens": 5, "messages": []}, 400, "invalid_request_error"),
    "messages missing": ({"model": "MODEL", "max_tokens": 5}, 400, "invalid_request_error"),
    "no model": ({"messages": HELLO, "max_tokens": 5}, 400, "invalid_request_error"),
    "unknown model": ({"model": "nope", "messages": HELLO, "max_tokens": 5}, 404, "not_found_error"),
    "unknown model, streaming": ({"model": "nope", "messages": HELLO, "max_tokens": 5, "stream": True}, 404, "not_found_error"),
    "bad JSON": (b"{bad", 400, "invalid_request_error"),
    "no body": (b"", 400, "invalid_request_error"),
    "bad block": ({"model": "MODEL", "max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "x"}]}]}, 400, "invalid_request_error"),
    "system of a wrong type": ({"model": "MODEL", "max_tokens": 5, "messages": HELLO, "system": 5}, 400, "invalid_request_error"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_error(name):
    body, status, type_ = ERRORS[name]
    if isinstance(body, dict) and body.get("model") == "MODEL":
        body = {**body, "model": support.model()}
    answer = wire.post(PATH, body)
    assert answer.status == status, answer.text
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == type_ and answer.json["error"]["message"]


def test_errors_carry_a_request_id():
    answer = wire.post(PATH, {"model": "nope", "messages": HELLO, "max_tokens": 5})
    assert answer.json["request_id"]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/count_tokens"])
def test_wrong_methods_are_405(path):
    assert wire.call("GET", path).status == 405
