"""langchain-openai: chat completions, the responses API, text completions and embeddings."""

import json

import openai
import pydantic
import pytest
import support
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from support import NO_SUCH_MODEL, WEATHER_TOOL


class Frog(pydantic.BaseModel):
    """A frog."""

    alive: bool
    legs: int = pydantic.Field(ge=0, le=9)


def make_chat(model, **more):
    fixed = dict(base_url=f"{support.URL}/v1", api_key="unused", temperature=0, max_retries=0)
    return ChatOpenAI(model=model, **fixed, **{"max_tokens": 12, **more})


@pytest.fixture
def chat(model):
    return make_chat(model, stream_usage=True)


def test_invoke(chat):
    answer = chat.invoke("Say hello.")
    assert isinstance(answer, AIMessage) and answer.content
    assert answer.usage_metadata["input_tokens"] == support.n_prompt_tokens([{"role": "user", "content": "Say hello."}])
    assert answer.response_metadata["finish_reason"] in ("stop", "length")


def test_stream_is_the_same_text_and_ends_with_usage(chat):
    whole = chat.invoke("Say hello.")
    total = None
    for chunk in chat.stream("Say hello."):
        total = chunk if total is None else total + chunk
    assert total.content == whole.content
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]


def test_batch(chat):
    prompts = ["Say hello.", "Say goodbye.", "Count to three."]
    assert [answer.content for answer in chat.batch(prompts)] == [chat.invoke(prompt).content for prompt in prompts]


def test_messages(chat):
    messages = [SystemMessage("You are a pirate."), HumanMessage("Hi"), AIMessage("Arr."), HumanMessage("Say hello.")]
    assert chat.invoke(messages).content


def test_async(chat):
    async def calls():
        whole = await chat.ainvoke("Say hello.")
        assert "".join([chunk.content async for chunk in chat.astream("Say hello.")]) == whole.content
        assert len(await chat.abatch(["Hi", "Ho"])) == 2

    support.run_async(calls())


@pytest.mark.parametrize("responses_api", [False, True])
def test_structured_output(model, responses_api):
    chat = make_chat(model, max_tokens=100, use_responses_api=responses_api)
    assert isinstance(chat.with_structured_output(Frog, method="json_schema").invoke("A frog."), Frog)


def test_json_mode(model):
    chat = make_chat(model, max_tokens=400).bind(response_format={"type": "json_object"})
    assert isinstance(json.loads(chat.invoke('Answer with {"ok": true}.').content), dict)


def test_logprobs(chat):
    answer = chat.bind(logprobs=True, top_logprobs=2).invoke("Say hello.")
    assert answer.response_metadata["logprobs"]["content"]


def test_tools_without_a_template_for_them_are_told_in_words(chat, needs_no_tools):
    answer = chat.bind_tools([WEATHER_TOOL]).invoke("The weather in Paris?")
    assert answer.content or answer.tool_calls


def test_responses_api(model):
    chat = make_chat(model, max_tokens=48, use_responses_api=True)
    whole = chat.invoke("Say hello.")
    total = None
    for chunk in chat.stream("Say hello."):
        total = chunk if total is None else total + chunk
    assert whole.text and total.text == whole.text
    assert total.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]


def test_text_model(model):
    llm = OpenAI(model=model, base_url=f"{support.URL}/v1", api_key="unused", temperature=0, max_tokens=12, max_retries=0)
    whole = llm.invoke("1, 2, 3, 4, 5,")
    assert whole and "".join(llm.stream("1, 2, 3, 4, 5,")) == whole
    # `batch` sends one request with a list of prompts.
    assert llm.batch(["1, 2, 3, 4, 5,", "1, 2, 3, 4, 5,"]) == [whole, whole]
    assert llm.generate(["1, 2, 3, 4, 5,", "Once"]).llm_output["token_usage"]["total_tokens"] > 0


def test_embeddings(model):
    # The default counts tokens with OpenAI's own vocabularies, which it fetches; other servers need it off.
    embeddings = OpenAIEmbeddings(
        model=model, base_url=f"{support.URL}/v1", api_key="unused", check_embedding_ctx_length=False, max_retries=0
    )
    documents = embeddings.embed_documents(["Hello world", "Something else"])
    assert len(documents) == 2
    assert embeddings.embed_query("Hello world") == pytest.approx(documents[0], abs=1e-3)


def test_unknown_model_is_not_found():
    with pytest.raises(openai.NotFoundError):
        make_chat(NO_SUCH_MODEL).invoke("Hi")
