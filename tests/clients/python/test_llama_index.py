"""llama-index's Ollama class: complete, chat, their streams, and what it reads from /api/show."""

import pytest
import support
from llama_index.core.llms import ChatMessage
from llama_index.llms.ollama import Ollama


@pytest.fixture
def llm(model):
    return Ollama(
        model=model, base_url=support.URL, request_timeout=120, temperature=0, additional_kwargs={"num_predict": 12}
    )


def test_complete(llm):
    whole = llm.complete("Say hello.").text
    assert whole
    assert list(llm.stream_complete("Say hello."))[-1].text == whole


def test_chat(llm):
    messages = [ChatMessage(role="system", content="You are a pirate."), ChatMessage(role="user", content="Say hello.")]
    whole = llm.chat(messages).message.content
    assert whole
    assert list(llm.stream_chat(messages))[-1].message.content == whole


def test_async(llm):
    async def calls():
        messages = [ChatMessage(role="user", content="Say hello.")]
        whole = (await llm.achat(messages)).message.content
        last = None
        async for last in await llm.astream_chat(messages):
            pass
        assert last.message.content == whole

    support.run_async(calls())


def test_the_context_is_found_in_show(llm):
    assert llm.get_context_window() > 0
    assert llm.metadata.context_window > 0
