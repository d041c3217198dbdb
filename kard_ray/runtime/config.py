"""The base of every configuration model: frozen, and strict about unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy, and so vLLM, takes


class Frozen(BaseModel):
    """A typed, immutable configuration block; it lives beside the stage that owns it."""

    # `model` is this project's word for a model reference; pydantic's own "model_" prefix may not claim it.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # Fields that say how fast or where the work is done, not what comes out: changing them redoes nothing.
    EXECUTION: ClassVar[frozenset[str]] = frozenset()

    def content(self) -> dict[str, Any]:
        """Plain JSON of the fields that decide what comes out; the artifact's key is made from it."""
        plain = self.model_dump(mode="json")
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in self.EXECUTION:
                del plain[name]
            elif isinstance(value, Frozen):
                plain[name] = value.content()
        return plain
