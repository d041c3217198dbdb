"""Which student is asked: the one that the request names, else one by its share of the traffic."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from kard_ray.runtime.config import Frozen
from kard_ray.serving.config import ANY_STUDENT
from kard_ray.serving.errors import ServiceError, invalid

RERANKED = ("reranker", "multivector")  # modes that go to the reranker


class StudentCard(Frozen):
    """What the ingress has to know of a student."""

    name: str
    method: str
    version: str  # stage and key of its artifact
    created: int  # seconds since 1970
    engine: str  # deployment that holds it
    passages: int  # k; 0: it reads none
    with_options: bool  # whether its passages are searched for with the options too
    samples: int = 1  # as the recipe predicts
    temperature: float = 0.0
    max_tokens: int = 128


class Routing(Frozen):
    """Students, versions and shares; a running service takes another one without a restart."""

    students: tuple[StudentCard, ...] = ()
    traffic: dict[str, float] = {}  # none: the first student takes all
    shadow: str | None = None
    shadow_share: float = 0.0
    knowledge_version: str = ""
    more_knowledge_versions: tuple[str, ...] = ()
    mode: str = "bm25"
    modes: tuple[str, ...] = ()
    ending: bool = False  # nothing more is taken, and what has begun is finished

    @property
    def first(self) -> StudentCard:
        """The student that answers when nothing else is said."""
        if not self.traffic:
            return self.students[0]
        name = max(self.traffic, key=lambda name: self.traffic[name])
        return self._card(name)

    def choose(self, model: str | None, question: str, options: Sequence[str]) -> StudentCard:
        """The student for a question; raises ServiceError 404 when there is none of this name.

        The same question goes to the same student as long as the shares stay as they are.
        """
        if model is not None and model != ANY_STUDENT:
            return self._card(model)
        if not self.traffic:
            return self.students[0]
        return self._card(_by_share(self.traffic, _fraction(question, options)))

    def shadow_of(self, card: StudentCard, draw: float) -> StudentCard | None:
        """The student that is asked beside ``card``, for a ``draw`` from 0 to 1; None when none is."""
        if self.shadow is None or self.shadow == card.name or draw >= self.shadow_share:
            return None
        return self._card(self.shadow)

    def version(self, wanted: str | None) -> str:
        """The knowledge base's version for a request; raises ServiceError 404 for one that is not served."""
        if wanted is None or wanted == self.knowledge_version:
            return self.knowledge_version
        if wanted in self.more_knowledge_versions:
            return wanted
        known = ", ".join([self.knowledge_version, *self.more_knowledge_versions])
        raise ServiceError(
            404,
            "version_not_found",
            f"knowledge_version: {wanted!r} is not served; there is {known}.",
            "knowledge_version",
        )

    def mode_for(self, wanted: str | None, version: str) -> str:
        """How passages of ``version`` are found; raises ServiceError 422 for what this service cannot do.

        A reranker belongs to one version; of others the default is what its first stage does.
        """
        if wanted is not None and wanted not in self.modes:
            raise invalid("mode", f"{wanted!r} is not served; there is {', '.join(self.modes)}.")
        mode = wanted or self.mode
        if mode in RERANKED and version != self.knowledge_version:
            plain = [other for other in self.modes if other not in RERANKED]
            if wanted is not None:
                raise invalid(
                    "mode", f"{wanted!r} is not served for version {version}; there is {', '.join(plain)}."
                )
            return plain[0]
        return mode

    def _card(self, name: str) -> StudentCard:
        for card in self.students:
            if card.name == name:
                return card
        known = ", ".join(card.name for card in self.students)
        raise ServiceError(404, "model_not_found", f"model: there is no {name!r}; there is {known}.", "model")


def _fraction(question: str, options: Sequence[str]) -> float:
    """From 0 to 1, evenly spread over questions."""
    text = "\x00".join([question, *options])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def _by_share(shares: dict[str, float], fraction: float) -> str:
    at = fraction * sum(shares.values())
    names = [name for name in sorted(shares) if shares[name] > 0]
    for name in names:
        at -= shares[name]
        if at < 0:
            return name
    return names[-1]
