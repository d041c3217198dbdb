"""Settings of the online service."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from kard_ray.evaluation.sources import Search
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.engine import EngineConfig
from kard_ray.student.methods.registry import MethodName

StudentName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

ANY_STUDENT = "default"  # the name under which a client leaves the choice of the student to the service


class Scaling(Frozen):
    """How many replicas a part has, and what each of them takes."""

    min_replicas: int = Field(1, ge=1, le=1000)
    max_replicas: int = Field(1, ge=1, le=1000)
    target_ongoing: float = Field(8.0, gt=0)  # requests per replica that autoscaling aims at
    upscale_seconds: float = Field(5.0, ge=0)  # that load must last before replicas are added
    downscale_seconds: float = Field(60.0, ge=0)  # that calm must last before they are taken away
    cpus: float = Field(0.1, ge=0)  # of one replica, as Ray counts them
    gpus: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, below min_replicas {self.min_replicas}")
        return self


class ServedStudent(Frozen):
    """One student behind the service's address."""

    name: StudentName
    method: MethodName | None = None  # null: as the name says
    run: str | None = None  # run directory that has it; null: the one that is served


class ServingConfig(Frozen):
    """What is served, to whom, and within which limits. Limits hold for each replica of the ingress."""

    students: tuple[ServedStudent, ...] = ()  # none: the run's student of kard, else its last one
    # Share of the requests that name no student, by student (a canary); none: the first student takes all.
    traffic: dict[StudentName, Annotated[float, Field(ge=0)]] = {}
    shadow: StudentName | None = None  # asked too, when there is room; nobody sees what it answers
    shadow_share: float = Field(1.0, ge=0, le=1)  # of the requests that are asked of it too
    knowledge_version: str | None = None  # tag that questions are asked of; null: the one of the run
    more_knowledge_versions: tuple[str, ...] = ()  # tags that a request may name beside it
    mode: Search | None = None  # how passages are found; null: as the recipe's predictions first do
    rerank: bool = True  # with the run's reranker, when it has one
    engine: EngineConfig | None = None  # null: prediction.engine
    adapters: int = Field(4, ge=1, le=256)  # LoRA students that one engine has room for
    adapter_rank: int | None = Field(None, ge=1, le=512)  # largest one of them; null: of those of the start

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65_535)
    auth: bool = True  # whether a token is asked for; without, only the loopback interface is served
    tokens: str | None = None  # file of the tokens' hashes; null: tokens.json in the run directory
    feedback: str | None = None  # folder of the table of verdicts; null: feedback in the run directory

    max_body_kib: int = Field(1024, ge=1)
    body_seconds: float = Field(10.0, gt=0)  # within which a body has to arrive
    deadline_seconds: float = Field(60.0, gt=0, le=300)  # of a request that names none
    max_running: int = Field(16, ge=1)  # questions that are worked on at once
    max_queued: int = Field(16, ge=0)  # questions that wait for that; one more is refused
    batch_at_once: int = Field(8, ge=1)  # questions of one batch that are worked on at once
    requests_per_minute: int = Field(600, ge=1)  # of one token; a question of a batch counts as one
    at_once_per_token: int = Field(32, ge=1)  # requests of one token that are open at once
    cache_entries: int = Field(10_000, ge=0)  # answers kept; the same question to the same versions
    log_text: bool = False  # whether questions and answers may stand in the logs
    drain_seconds: float = Field(65.0, ge=0)  # that a replica to be stopped gets to finish what it has begun
    # On a change of code or models, new replicas start before old ones stop: it needs room for both. false: one by one
    surge: bool = True
    health_seconds: float = Field(15.0, gt=0)  # without progress, after which an engine counts as hung

    ingress: Scaling = Scaling(min_replicas=2, max_replicas=2, target_ongoing=16)
    retriever: Scaling = Scaling(target_ongoing=8)
    reranker: Scaling = Scaling(target_ongoing=4, cpus=0.5)
    student: Scaling = Scaling(target_ongoing=16, cpus=1)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        names = [student.name for student in self.students]
        if len(set(names)) != len(names):
            raise ValueError(f"students has a name twice: {', '.join(names)}")
        if ANY_STUDENT in names:
            raise ValueError(f"students has the name {ANY_STUDENT!r}, which stands for any of them")
        for field, asked in (
            ("traffic", list(self.traffic)),
            ("shadow", [self.shadow] if self.shadow else []),
        ):
            if names and (unknown := [name for name in asked if name not in names]):
                raise ValueError(f"{field} names {', '.join(unknown)}, which students has not")
        if self.traffic and not sum(self.traffic.values()):
            raise ValueError("traffic gives no student anything")
        if not self.auth and not is_loopback(self.host):
            raise ValueError(
                f"auth is false, but host is {self.host}, which others can reach; set host to 127.0.0.1 or auth to true"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether ``host``, an address or a name, is this machine's own loopback interface."""
    import ipaddress

    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
