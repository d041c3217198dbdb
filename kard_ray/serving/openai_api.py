"""``POST /v1/chat/completions``: OpenAI's interface in front of the same service.

The question is the last user message. What a student writes has no turns and calls no tools, so a request that needs
them is refused rather than half done.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from kard_ray.serving import sse
from kard_ray.serving.asking import Drawing
from kard_ray.serving.errors import ServiceError, invalid
from kard_ray.serving.openai_schemas import (
    ChatMessage,
    ChatRequest,
    ChatResponse,
    Choice,
    KardPart,
    Usage,
)
from kard_ray.serving.parts import Delta, Restart, Written
from kard_ray.serving.schemas import (
    CONTROL,
    MAX_QUESTION_CHARACTERS,
    Answer,
    Item,
)
from kard_ray.serving.service import Finish, Service, ServiceEvent, Start

_DONE = "[DONE]"
# Fields whose presence asks for something that no student can do, and the values that ask for nothing.
_NOTHING: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "reasoning_effort": ("none",),
}


def add_chat(api: FastAPI, service: Service, errors: Mapping[int | str, dict[str, Any]]) -> None:
    """Add the path to ``api``."""
    stream: dict[int | str, dict[str, Any]] = {
        200: {"content": {sse.MEDIA_TYPE: {"schema": sse.schema()}}, "description": "The completion."}
    }

    @api.post("/v1/chat/completions", response_model=ChatResponse, responses=dict(errors) | stream)
    async def chat(body: ChatRequest, request: Request) -> Response:
        """OpenAI's interface."""
        item, drawing = item_of(body), drawing_of(body)
        request_id, deadline = request.state.request_id, service.deadline(None)
        if not body.stream:
            answer, written = await service.answer(item, request_id, deadline, drawing=drawing)
            return Response(completion(answer, written).model_dump_json(), media_type="application/json")
        events = service.stream(item, request_id, deadline, drawing=drawing)
        first = await anext(events)
        usage = body.stream_options is not None and body.stream_options.include_usage
        chunks = _chunks(first, events, request, samples=body.n or 1, usage=usage)
        return StreamingResponse(chunks, media_type=sse.MEDIA_TYPE, headers={"x-accel-buffering": "no"})


def item_of(body: ChatRequest) -> Item:
    """The question behind a conversation; raises ServiceError for what is not supported."""
    for name, harmless in _NOTHING.items():
        value = getattr(body, name)
        if value is not None and value not in harmless:
            raise ServiceError(
                400, "unsupported", f"{name}: this service has no such thing; leave it out.", name
            )
    if body.response_format is not None and body.response_format.type != "text":
        told = "response_format: students write plain text; leave it out."
        raise ServiceError(400, "unsupported", told, "response_format")
    asked = [message for message in body.messages if message.role == "user"]
    text = asked[-1].text if asked else ""
    if not text.strip():
        raise invalid("messages", "there is no message of the user with text.")
    if len(text) > MAX_QUESTION_CHARACTERS or CONTROL.search(text):
        raise invalid(
            "messages", f"a question has up to {MAX_QUESTION_CHARACTERS} characters, none of them control."
        )
    return Item.model_construct(
        question=text,
        options=body.kard.options,
        model=body.model,
        n=body.n or 1,
        temperature=body.temperature,
        seed=body.seed,
        k=body.kard.k,
        mode=body.kard.mode,
        filter=body.kard.filter,
        knowledge_version=body.kard.knowledge_version,
    )


def drawing_of(body: ChatRequest) -> Drawing:
    """How the text is drawn."""
    given = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None]
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Drawing(top_p=body.top_p, max_tokens=min(given) if given else None, stop=stop)


def completion(answer: Answer, written: Written) -> ChatResponse:
    """The whole response: one choice per sample."""
    return ChatResponse(
        id=answer.id,
        created=int(time.time()),
        model=answer.model,
        choices=[
            Choice(
                index=at,
                message=ChatMessage(content=sample.text),
                finish_reason="length" if sample.cut else "stop",
            )
            for at, sample in enumerate(written.samples)
        ],
        usage=usage_of(written),
        kard=kard_part(answer),
    )


def usage_of(written: Written) -> Usage:
    """Tokens of a reply."""
    return Usage(
        prompt_tokens=written.prompt_tokens,
        completion_tokens=written.generated_tokens,
        total_tokens=written.prompt_tokens + written.generated_tokens,
    )


def kard_part(answer: Answer) -> KardPart:
    """What OpenAI's interface has no field for."""
    return KardPart(**{name: getattr(answer, name) for name in KardPart.model_fields})


async def _chunks(
    first: ServiceEvent,
    events: AsyncGenerator[ServiceEvent, None],
    request: Request,
    *,
    samples: int,
    usage: bool,
) -> AsyncIterator[bytes]:
    """The completion in pieces, as OpenAI's interface sends them."""
    assert isinstance(first, Start)
    head = {
        "id": first.id,
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": first.card.name,
    }

    def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return sse.event(None, {**head, "choices": choices, **more})

    def choice(at: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"index": at, "delta": delta, "logprobs": None, "finish_reason": reason}

    async with aclosing(events):
        try:
            for at in range(samples):
                yield chunk([choice(at, {"role": "assistant", "content": ""})])
            told = False
            async for event in events:
                if isinstance(event, Delta):
                    told = True
                    yield chunk([choice(event.sample, {"content": event.text})])
                elif isinstance(event, Restart) and told:
                    # This interface cannot take text back.
                    raise ServiceError(
                        503, "unavailable", "a replica was lost while it wrote; ask again.", None, 1
                    )
                elif isinstance(event, Finish):
                    *others, last = [
                        choice(at, {}, "length" if sample.cut else "stop")
                        for at, sample in enumerate(event.written.samples)
                    ]
                    for one in others:
                        yield chunk([one])
                    yield chunk([last], kard=kard_part(event.answer).model_dump(mode="json"))
                    if usage:
                        yield chunk([], usage=usage_of(event.written).model_dump())
        except ServiceError as error:
            request.state.fail(error.code)
            yield sse.event(None, error.body(request.state.request_id))
        yield sse.event(None, _DONE)
