"""Bodies of OpenAI's interface, as far as the service speaks it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from kard_ray.serving.schemas import (
    MAX_QUESTION_CHARACTERS,
    MAX_SAMPLES,
    Body,
    Finding,
    Flag,
    Milliseconds,
    Name,
    Number,
    Options,
    Part,
    Passage,
    Whole,
)

MAX_MESSAGES = 64


class TextPart(BaseModel):
    """A piece of a message's content."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Literal["text"]
    text: Annotated[str, StringConstraints(max_length=MAX_QUESTION_CHARACTERS)]


class Message(BaseModel):
    """One message; what the service does not know of it is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: (
        Annotated[str, StringConstraints(max_length=MAX_QUESTION_CHARACTERS)]
        | Annotated[tuple[TextPart, ...], Field(max_length=MAX_MESSAGES)]
        | None
    ) = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a streamed completion tells at its end."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    include_usage: Flag = False


class KardOptions(Finding):
    """What OpenAI's interface has no field for."""

    options: Options = ()


class ResponseFormat(BaseModel):
    """Only plain text is written."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: str


class ChatRequest(Body):
    """Body of ``POST /v1/chat/completions``. Fields that clients send and that change nothing here are taken too."""

    model: Name
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=MAX_MESSAGES)]
    n: Annotated[Whole, Field(ge=1, le=MAX_SAMPLES)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = None
    stop: (
        Annotated[str, StringConstraints(min_length=1, max_length=100)]
        | Annotated[
            tuple[Annotated[str, StringConstraints(min_length=1, max_length=100)], ...], Field(max_length=4)
        ]
        | None
    ) = None
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] | None = None
    stream: Flag | None = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    kard: KardOptions = KardOptions()
    # taken, without effect
    user: Annotated[str, StringConstraints(max_length=512)] | None = None
    metadata: dict[str, Any] | None = None
    store: Flag | None = None
    service_tier: str | None = None
    parallel_tool_calls: Flag | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # refused unless they ask for nothing
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    logit_bias: dict[str, Number] | None = None
    logprobs: Flag | None = None
    top_logprobs: Whole | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    reasoning_effort: str | None = None


class ChatMessage(Part):
    """What a student wrote."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(Part):
    """One sample."""

    index: int
    message: ChatMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Usage(Part):
    """Tokens, as OpenAI's interface counts them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class KardPart(Part):
    """What OpenAI's interface has no field for."""

    answer: str | None
    option: int | None
    passages: list[Passage]
    milliseconds: Milliseconds
    model_version: str
    knowledge_version: str


class ChatResponse(Part):
    """The response of ``POST /v1/chat/completions``."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    kard: KardPart
