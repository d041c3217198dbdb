"""Bodies of the interface, as they are checked and as the OpenAPI document shows them."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from kard_ray.evaluation.sources import Search

MAX_BATCH = 256
MAX_OPTIONS = 26
MAX_OPTION_CHARACTERS = 500
MAX_QUESTION_CHARACTERS = 4000
MAX_RETRIEVED = 100
MAX_SAMPLES = 16
MAX_SECONDS = 300.0


# No control characters but white space, and something other than white space.
_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
CONTROL = re.compile(rf"[{_CONTROL}]")
TEXT_PATTERN = rf"^[^{_CONTROL}]*[^{_CONTROL}\s][^{_CONTROL}]*$"

Text = Annotated[str, StringConstraints(min_length=1, pattern=TEXT_PATTERN)]
QuestionText = Annotated[Text, StringConstraints(max_length=MAX_QUESTION_CHARACTERS)]
OptionText = Annotated[Text, StringConstraints(max_length=MAX_OPTION_CHARACTERS)]


def _different(options: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(options)) != len(options):
        raise ValueError("two of them are the same")
    return options


Options = Annotated[
    tuple[OptionText, ...],
    Field(max_length=MAX_OPTIONS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_different),
]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/@+-]*$")
]
ShortText = Annotated[str, StringConstraints(max_length=200)]


def _whole(value: object) -> object:
    """Refuse what JSON Schema does not call an integer, but Python reads as one: ``true`` and ``"3"``."""
    if isinstance(value, bool | str):
        raise ValueError("is no whole number")
    return value


def _day(value: object) -> object:
    """Refuse what is no full date as JSON Schema writes it, but Python reads as one: a number of seconds, a time."""
    if not isinstance(value, str) or len(value) != len("2000-12-31"):
        raise ValueError("is no date such as 2000-12-31")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Day = Annotated[datetime.date, BeforeValidator(_day)]
Seconds = Annotated[Number, Field(ge=0.1, le=MAX_SECONDS)]


class Body(BaseModel):
    """A request's body: unknown fields and numbers that are none are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Part(BaseModel):
    """Something in a response."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Filter(Body):
    """Which passages may be found, as :class:`kard_ray.knowledge.filters.PassageFilter` says."""

    source: Annotated[tuple[ShortText, ...], Field(max_length=1000)] = ()
    language: Annotated[tuple[ShortText, ...], Field(max_length=100)] = ()
    date_from: Day | None = None
    date_to: Day | None = None


class Finding(Body):
    """How passages are found."""

    k: Annotated[Whole, Field(ge=0, le=64)] | None = Field(
        None, description="Passages that the student is shown."
    )
    mode: Search | None = None
    filter: Filter | None = None
    knowledge_version: Name | None = None


class Item(Finding):
    """One question."""

    question: QuestionText
    options: Options = ()
    model: Name | None = None
    n: Annotated[Whole, Field(ge=1, le=MAX_SAMPLES)] | None = Field(
        None, description="Samples, of which the majority answers."
    )
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    seed: Annotated[Whole, Field(ge=0, lt=2**31)] | None = None


class AnswerRequest(Item):
    """Body of ``POST /v1/answer``."""

    stream: Flag = False
    timeout_seconds: Seconds | None = None


class BatchRequest(Body):
    """Body of ``POST /v1/answers``."""

    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=MAX_BATCH)]
    timeout_seconds: Seconds | None = None


class RetrieveRequest(Body):
    """Body of ``POST /v1/retrieve``."""

    query: QuestionText
    k: Annotated[Whole, Field(ge=1, le=MAX_RETRIEVED)] = 10
    mode: Search | None = None
    filter: Filter | None = None
    knowledge_version: Name | None = None
    timeout_seconds: Seconds | None = None


class FeedbackRequest(Body):
    """Body of ``POST /v1/feedback``."""

    verdict: Literal["right", "wrong"]
    answer_id: Name
    question: QuestionText
    options: Options = ()
    answer: Annotated[str, StringConstraints(max_length=MAX_QUESTION_CHARACTERS)] | None = None
    option: Annotated[Whole, Field(ge=0, lt=MAX_OPTIONS)] | None = None
    rationale: Annotated[str, StringConstraints(max_length=20_000)] = ""
    passage_ids: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=1000)], ...], Field(max_length=64)
    ] = ()
    model: Name | None = None
    model_version: Name | None = None
    knowledge_version: Name | None = None
    correction: Annotated[Text, StringConstraints(max_length=MAX_OPTION_CHARACTERS)] | None = None
    comment: Annotated[str, StringConstraints(max_length=2000)] | None = None
    feedback_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None


class Passage(Part):
    """One passage; all of it is data of a corpus, never markup."""

    passage_id: str
    title: str
    text: str
    score: float
    source: str = ""
    link: str | None = None


class Milliseconds(Part):
    """Where the time went. ``queue`` is the wait for a place, ``generate`` includes the way to the student."""

    queue: float = 0.0
    retrieve: float = 0.0
    rerank: float = 0.0
    generate: float = 0.0
    total: float = 0.0


class Tokens(Part):
    """What was computed: prompts that were read and tokens that were written, over all passes and samples."""

    prompt: int = 0
    generated: int = 0


class Sample(Part):
    """One of several samples."""

    text: str
    answer: str | None
    option: int | None


class Answer(Part):
    """The response of ``POST /v1/answer``."""

    id: str
    answer: str | None
    option: int | None
    rationale: str
    confidence: float | None
    samples: list[Sample] = []
    passages: list[Passage]
    milliseconds: Milliseconds
    tokens: Tokens
    model: str
    model_version: str
    knowledge_version: str
    cached: bool = False


class ErrorDetail(Part):
    """What was wrong."""

    message: str
    type: str
    code: str
    param: str | None = None
    request_id: str


class ErrorBody(Part):
    """Every response that is no success."""

    error: ErrorDetail


class BatchResult(Part):
    """One item's answer or error."""

    answer: Answer | None = None
    error: ErrorDetail | None = None


class BatchResponse(Part):
    """The response of ``POST /v1/answers``."""

    results: list[BatchResult]


class RetrieveResponse(Part):
    """The response of ``POST /v1/retrieve``."""

    passages: list[Passage]
    milliseconds: Milliseconds
    knowledge_version: str


class FeedbackResponse(Part):
    """The response of ``POST /v1/feedback``."""

    feedback_id: str


class StudentInfo(Part):
    """What the page needs to know of a student."""

    method: str
    version: str
    passages: int
    reads: bool
    default: bool


class ModelInfo(Part):
    """One student, as OpenAI's interface lists models."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "kard-ray"
    kard: StudentInfo | None = None


class Limits(Part):
    """What a request may ask."""

    question_characters: int = MAX_QUESTION_CHARACTERS
    options: int = MAX_OPTIONS
    option_characters: int = MAX_OPTION_CHARACTERS
    passages: int = 0
    samples: int = MAX_SAMPLES
    batch: int = MAX_BATCH
    retrieved: int = MAX_RETRIEVED


class ServiceInfo(Part):
    """What holds for all students."""

    default_model: str
    knowledge_versions: list[str]
    knowledge_version: str
    modes: list[str]
    mode: str
    limits: Limits


class ModelList(Part):
    """The response of ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]
    kard: ServiceInfo
