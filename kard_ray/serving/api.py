"""The HTTP interface of a service; docs/serving.md is its reference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from kard_ray import __version__
from kard_ray.serving import sse
from kard_ray.serving.config import ANY_STUDENT
from kard_ray.serving.errors import ServiceError, invalid, unavailable
from kard_ray.serving.openai_api import add_chat
from kard_ray.serving.page_files import INDEX, page_files
from kard_ray.serving.parts import Delta, Restart
from kard_ray.serving.schemas import (
    Answer,
    AnswerRequest,
    BatchRequest,
    BatchResponse,
    ErrorBody,
    FeedbackRequest,
    FeedbackResponse,
    Limits,
    ModelInfo,
    ModelList,
    RetrieveRequest,
    RetrieveResponse,
    ServiceInfo,
    StudentInfo,
)
from kard_ray.serving.service import Finish, Service, ServiceEvent, Start

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": what}
    for status, what in {
        400: "The body is no JSON, or asks for what is not supported.",
        401: "No token, or a wrong one.",
        404: "No such student, knowledge version or path.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "The body is not application/json.",
        422: "A field is missing, unknown or out of range.",
        429: "This token's limits.",
        503: "The queue is full, or a part is not available.",
        504: "The deadline passed.",
    }.items()
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            sse.MEDIA_TYPE: {"schema": sse.schema("passages", "token", "restart", "answer", "error")}
        },
        "description": "The answer, or its events.",
    }
}
_READY_SECONDS = 5.0


def build_api(service: Service) -> FastAPI:
    """The application; what stands around it is :class:`kard_ray.serving.shell.Shell`."""
    api = FastAPI(
        title="kard-ray",
        version=__version__,
        description="Questions answered by a small student with retrieved passages.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(ServiceError, _service_error)
    _add_questions(api, service)
    _add_lists(api, service)
    add_chat(api, service, _ERRORS)
    _add_pages(api)
    _add_operations(api, service)
    return api


def _add_questions(api: FastAPI, service: Service) -> None:
    @api.post("/v1/answer", response_model=Answer, responses=_ERRORS | _STREAM)
    async def answer(body: AnswerRequest, request: Request) -> Response:
        """Answer one question."""
        request_id, deadline = request.state.request_id, service.deadline(body.timeout_seconds)
        if not body.stream:
            found, _ = await service.answer(body, request_id, deadline)
            return _json(found)
        events = service.stream(body, request_id, deadline)
        first = await anext(events)  # what is refused before it gets a status of its own
        return StreamingResponse(
            _events(first, events, request), media_type=sse.MEDIA_TYPE, headers=_UNBUFFERED
        )

    @api.post("/v1/answers", responses=_ERRORS)
    async def answers(body: BatchRequest, request: Request) -> BatchResponse:
        """Answer up to 256 questions."""
        state = request.state
        if len(body.items) > 1:
            service.limits.take(state.token, state.per_minute, beside=len(body.items) - 1)
        results = await service.batch(body, state.request_id, service.deadline(body.timeout_seconds))
        return BatchResponse(results=results)

    @api.post("/v1/retrieve", responses=_ERRORS)
    async def retrieve(body: RetrieveRequest, request: Request) -> RetrieveResponse:
        """Find passages."""
        return await service.retrieve(body, request.state.request_id, service.deadline(body.timeout_seconds))

    @api.post("/v1/feedback", status_code=201, responses=_ERRORS)
    async def feedback(body: FeedbackRequest, request: Request) -> FeedbackResponse:
        """Keep a verdict on an answer."""
        state = request.state
        identity = body.feedback_id or _feedback_id(body, state.request_id, state.token)
        await service.keep(body, identity, state.token, state.request_id, service.deadline(None))
        return FeedbackResponse(feedback_id=identity)


_UNBUFFERED = {"x-accel-buffering": "no"}  # a proxy in front passes each event on at once


async def _events(
    first: ServiceEvent, events: AsyncGenerator[ServiceEvent, None], request: Request
) -> AsyncIterator[bytes]:
    async with aclosing(events):
        try:
            yield _as_event(first)
            async for one in events:
                yield _as_event(one)
        except ServiceError as error:
            request.state.fail(error.code)
            yield sse.event("error", error.body(request.state.request_id))


def _as_event(one: ServiceEvent) -> bytes:
    if isinstance(one, Start):
        data = {
            "id": one.id,
            "passages": [passage.model_dump(mode="json") for passage in one.passages],
            "model": one.card.name,
            "model_version": one.card.version,
            "knowledge_version": one.knowledge_version,
            "milliseconds": one.milliseconds.model_dump(include={"queue", "retrieve", "rerank"}),
        }
        return sse.event("passages", data)
    if isinstance(one, Delta):
        return sse.event("token", {"sample": one.sample, "text": one.text})
    if isinstance(one, Restart):
        return sse.event("restart", {})
    assert isinstance(one, Finish)
    return sse.event("answer", one.answer.model_dump_json())


def _feedback_id(body: FeedbackRequest, request_id: str, token: str) -> str:
    """The same when the same request comes again, because a part in front was not sure that it had arrived."""
    text = json.dumps([token, request_id, body.model_dump(mode="json")], sort_keys=True)
    return f"fb_{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _add_lists(api: FastAPI, service: Service) -> None:
    @api.get("/v1/models", responses=_ERRORS)
    async def models() -> ModelList:
        """Students, knowledge versions, limits."""
        routing = service.routing
        cards = [
            ModelInfo(
                id=card.name,
                created=card.created,
                kard=StudentInfo(
                    method=card.method,
                    version=card.version,
                    passages=card.passages,
                    reads=card.passages > 0,
                    default=card.name == routing.first.name,
                ),
            )
            for card in routing.students
        ]
        return ModelList(
            data=[*cards, ModelInfo(id=ANY_STUDENT, created=max(card.created for card in routing.students))],
            kard=ServiceInfo(
                default_model=routing.first.name,
                knowledge_versions=[routing.knowledge_version, *routing.more_knowledge_versions],
                knowledge_version=routing.knowledge_version,
                modes=list(routing.modes),
                mode=routing.mode,
                limits=Limits(passages=max(card.passages for card in routing.students)),
            ),
        )


def _add_pages(api: FastAPI) -> None:
    files = page_files()

    def file(name: str) -> Response:
        if name not in files:
            raise ServiceError(404, "not_found", "there is no such path.")
        content, media_type = files[name]
        return Response(content, media_type=media_type, headers={"cache-control": "private, max-age=60"})

    @api.get("/", include_in_schema=False)
    async def index() -> Response:
        return file(INDEX)

    @api.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        return file(name)


def _add_operations(api: FastAPI, service: Service) -> None:
    @api.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the service runs."""
        return "ok\n"

    @api.get("/readyz", responses=_ERRORS, response_class=PlainTextResponse)
    async def readyz() -> str:
        """Whether every part is ready."""
        missing = await service.parts.unready(service.deadline(_READY_SECONDS))
        if missing:
            raise ServiceError(503, "unavailable", " ".join(missing), None, 2)
        return "ready\n"

    @api.get("/metrics", responses=_ERRORS, response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus text of all parts."""
        text = await service.parts.metrics()
        if not text:
            raise unavailable("the metrics agent of this cluster")
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @api.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(document(api))


def document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with how tokens are sent."""
    told = api.openapi()
    told.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "page": {"type": "http", "scheme": "basic"},
    }
    for path, methods in told["paths"].items():
        for operation in methods.values():
            # FastAPI's own form of errors is not what is sent.
            operation["security"] = [] if path == "/healthz" else [{"token": []}, {"page": []}]
    told["components"].get("schemas", {}).pop("HTTPValidationError", None)
    told["components"].get("schemas", {}).pop("ValidationError", None)
    return told


def _json(model: Answer) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")


# -- errors ----------------------------------------------------------------------------------------------------------


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    request.state.fail(error.code)
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return JSONResponse(error.body(request.state.request_id), error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {
        404: ServiceError(404, "not_found", "there is no such path."),
        405: ServiceError(405, "method_not_allowed", "this path does not take this method."),
        400: ServiceError(400, "invalid_json", "the body cannot be read as JSON."),
    }.get(error.status_code, ServiceError(error.status_code, "unsupported", "this cannot be done."))
    response = await _service_error(request, told)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value  # which methods are allowed
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail = error.errors()[0]
    if detail["type"] == "json_invalid":
        return await _service_error(
            request, ServiceError(400, "invalid_json", "the body cannot be read as JSON.")
        )
    return await _service_error(request, invalid(_field(detail["loc"]), _sentence(detail)))


def _field(place: Sequence[int | str]) -> str:
    """The dotted name of a field; only names of fields and places, never what a client wrote."""
    names = [str(part) for part in place if part != "body" and not str(part).startswith("function-")]
    return ".".join(name if name.isidentifier() or name.isdigit() else "?" for name in names)[:100] or "body"


_SENTENCES = {
    "missing": "it is missing.",
    "extra_forbidden": "there is no such field.",
    "string_pattern_mismatch": "control characters, white space alone, or a character that it may not have.",
    "string_unicode": "it is no valid text.",
}


def _sentence(detail: Mapping[str, Any]) -> str:
    """What is wrong with a field, without repeating what was sent."""
    known = _SENTENCES.get(detail["type"])
    if known is not None:
        return known
    return f"{str(detail['msg']).removeprefix('Value error, ')[:200]}."
