"""langchain-ollama: chat model, text model and embeddings, by invoke, stream, batch and their async twins."""

import ollama
import pydantic
import pytest
import support
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from support import NO_SUCH_MODEL


class Frog(pydantic.BaseModel):
    """A frog."""

    alive: bool
    legs: int = pydantic.Field(ge=0, le=9)


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@pytest.fixture
def chat(model):
    return ChatOllama(model=model, base_url=support.URL, temperature=0, num_predict=12)


@pytest.fixture
def text(model):
    return OllamaLLM(model=model, base_url=support.URL, temperature=0, num_predict=12)


def test_invoke(chat):
    answer = chat.invoke("Say hello.")
    assert isinstance(answer, AIMessage) and answer.content
    assert answer.usage_metadata["input_tokens"] == support.n_prompt_tokens([{"role": "user", "content": "Say hello."}])
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["done"] is True and answer.response_metadata["done_reason"] in ("stop", "length")
    assert answer.response_metadata["total_duration"] > 0


def test_stream_is_the_same_text(chat):
    whole = chat.invoke("Say hello.")
    total = None
    for chunk in chat.stream("Say hello."):
        total = chunk if total is None else total + chunk
    assert total.content == whole.content
    assert total.usage_metadata == whole.usage_metadata


def test_batch(chat):
    prompts = ["Say hello.", "Say goodbye.", "Count to three."]
    assert [answer.content for answer in chat.batch(prompts)] == [chat.invoke(prompt).content for prompt in prompts]


def test_messages(chat):
    messages = [SystemMessage("You are a pirate."), HumanMessage("Hi"), AIMessage("Arr."), HumanMessage("Say hello.")]
    assert chat.invoke(messages).content


def test_async(chat):
    async def calls():
        whole = await chat.ainvoke("Say hello.")
        pieces = [chunk.content async for chunk in chat.astream("Say hello.")]
        assert "".join(pieces) == whole.content
        assert len(await chat.abatch(["Hi", "Ho"])) == 2

    support.run_async(calls())


def test_stop(chat):
    whole = chat.invoke("Say hello.").content
    stop = whole[4:7]
    assert chat.invoke("Say hello.", stop=[stop]).content == whole[: whole.index(stop)]


def test_structured_output(model):
    chat = ChatOllama(model=model, base_url=support.URL, temperature=0, num_predict=100)
    assert isinstance(chat.with_structured_output(Frog, method="json_schema").invoke("A frog."), Frog)


def test_structured_output_streamed(model):
    chat = ChatOllama(model=model, base_url=support.URL, temperature=0, num_predict=100)
    assert isinstance(list(chat.with_structured_output(Frog, method="json_schema").stream("A frog."))[-1], Frog)


def test_logprobs(model):
    chat = ChatOllama(model=model, base_url=support.URL, temperature=0, num_predict=4, logprobs=True, top_logprobs=2)
    assert len(chat.invoke("Say hello.").response_metadata["logprobs"]) == 4


def test_tools_without_a_template_for_them_is_400(chat, needs_no_tools):
    with pytest.raises(ollama.ResponseError) as error:
        chat.bind_tools([get_weather]).invoke("The weather in Paris?")
    assert error.value.status_code == 400 and "does not support tools" in error.value.error


def test_tools(chat, needs_tools):
    assert chat.bind_tools([get_weather]).invoke("What is the weather in Paris?") is not None


def test_model_is_validated_on_init(model):
    assert ChatOllama(model=model, base_url=support.URL, validate_model_on_init=True)
    with pytest.raises(ValueError, match="not found"):
        ChatOllama(model=NO_SUCH_MODEL, base_url=support.URL, validate_model_on_init=True)


def test_text_model(text):
    whole = text.invoke("Say hello.")
    assert whole and "".join(text.stream("Say hello.")) == whole
    assert text.batch(["Say hello.", "Say hello."]) == [whole, whole]


def test_text_model_async(text):
    async def calls():
        whole = await text.ainvoke("Say hello.")
        assert "".join([piece async for piece in text.astream("Say hello.")]) == whole

    support.run_async(calls())


def test_embeddings(model):
    embeddings = OllamaEmbeddings(model=model, base_url=support.URL)
    documents = embeddings.embed_documents(["Hello world", "Something else"])
    assert len(documents) == 2
    assert embeddings.embed_query("Hello world") == pytest.approx(documents[0], abs=1e-3)
    assert len(support.run_async(embeddings.aembed_query("Hello world"))) == len(documents[0])


def test_unknown_model_is_404():
    with pytest.raises(ollama.ResponseError) as error:
        ChatOllama(model=NO_SUCH_MODEL, base_url=support.URL).invoke("Hi")
    assert error.value.status_code == 404
