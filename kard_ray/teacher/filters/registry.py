"""All filters by name; a new one is a new file and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.teacher.filters.base import AnyFilter
from kard_ray.teacher.filters.cites_all import CitesAll
from kard_ray.teacher.filters.concludes import Concludes
from kard_ray.teacher.filters.duplicates import Duplicates
from kard_ray.teacher.filters.grounded import Grounded
from kard_ray.teacher.filters.language import Language
from kard_ray.teacher.filters.length import Length
from kard_ray.teacher.filters.refusal import Refusal
from kard_ray.teacher.filters.supported import Supported
from kard_ray.teacher.filters.true_comparisons import TrueComparisons
from kard_ray.teacher.filters.verifier import Verifier


class FilterSpec(Frozen):
    """One entry of ``teacher.filters``: a name, or a mapping from one name to that filter's settings.

    Written ``concludes`` or ``{length: {min_words: 5}}``. Exactly one field is set: the filter, which is its settings.
    """

    concludes: Concludes | None = None
    supported: Supported | None = None
    grounded: Grounded | None = None
    cites_all: CitesAll | None = None
    true_comparisons: TrueComparisons | None = None
    length: Length | None = None
    language: Language | None = None
    refusal: Refusal | None = None
    duplicates: Duplicates | None = None
    verifier: Verifier | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, entry: Any) -> Any:
        """The entry as a mapping; refuses what names no filter, or more than one."""
        if isinstance(entry, str):
            entry = {entry: {}}
        if not isinstance(entry, dict):
            raise PydanticCustomError("filter", "expected a filter's name, or one name with its settings")
        names = ", ".join(cls.model_fields)
        if unknown := [str(name) for name in entry if name not in cls.model_fields]:
            raise PydanticCustomError(
                "filter",
                "there is no filter {unknown}; there are {names}",
                {"unknown": repr(unknown[0]), "names": names},
            )
        if len(entry) != 1:
            raise PydanticCustomError(
                "filter", "expected one of {names}, each as an entry of its own", {"names": names}
            )
        ((name, settings),) = entry.items()
        if isinstance(settings, dict) and "name" in settings:
            raise PydanticCustomError(
                "filter", "a filter has its name from the recipe's key, not from a setting"
            )
        return {name: {} if settings is None else settings}

    @property
    def filter(self) -> AnyFilter:
        """The filter, with its settings."""
        (name,) = self.model_fields_set
        return getattr(self, name)

    @model_serializer(mode="wrap")
    def _entry(self, plain: Any) -> dict[str, Any]:
        """As in a recipe: the name with all settings."""
        return {
            name: {field: value for field, value in settings.items() if field != "name"}
            for name, settings in plain(self).items()
            if settings is not None
        }

    def content(self) -> dict[str, Any]:
        """Name and the settings that decide what is kept, not how fast."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        return {name: it.content() for name in plain if isinstance(it := self.filter, Frozen)} or plain


def filters_named(entries: Sequence[str | FilterSpec]) -> list[AnyFilter]:
    """The filters of ``entries``, in that order: the first that objects gives the reason.

    Raises UserError if there is no filter of a name.
    """
    try:
        return [FilterSpec.model_validate(entry).filter for entry in entries]
    except ValidationError as error:
        raise UserError("\n".join(f"filter: {detail['msg']}." for detail in error.errors())) from None
