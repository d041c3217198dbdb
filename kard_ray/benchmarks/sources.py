"""Where a benchmark's files come from: a local folder, or a data set of the Hugging Face hub.

From the hub come files, never code: they are downloaded into the hub's cache and read like those of a local folder.
A data set is known by its commit, so what it decides has a key before anything is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from kard_ray.benchmarks.files import fingerprint_of
from kard_ray.benchmarks.question import Split
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

# A split as files call it, the commonest name first.
_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
_SUFFIXES = (".json", ".jsonl", ".parquet")
_HUB_FILES = tuple(f"*{suffix}" for suffix in _SUFFIXES)


class SourceConfig(Frozen):
    """A local folder (``path``), or a data set of the hub (``hub``); with neither, the benchmark's own on the hub."""

    HUB: ClassVar[str] = ""  # the data set of a recipe that names none
    FOLDERS: ClassVar[tuple[str, ...]] = ()  # where files may stand, beside the folder itself and data/

    path: str | None = Field(None, min_length=1)  # the folder
    hub: str | None = Field(None, pattern=r"^[\w][\w.-]*/[\w][\w.-]*$")  # owner/name of a data set
    # Of the data set: branch, tag or commit; null: its main one
    revision: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if self.path is not None and (self.hub or self.revision):
            raise ValueError(
                "got path together with hub or revision; expected a folder or a data set of the hub"
            )
        return self

    def content(self) -> dict[str, Any]:
        """As everywhere, but of the hub's fields only the data set's name: its commit is the data's fingerprint."""
        given = super().content()
        del given["hub"], given["revision"]
        if self.path is None:
            del given["path"]
            given["hub"] = self.hub or self.HUB
        return given


class Source:
    """The files of one benchmark; nothing is read or downloaded before it is asked for."""

    def __init__(self, config: SourceConfig, benchmark: str) -> None:
        self._config, self._benchmark = config, benchmark

    @property
    def where(self) -> str:
        """The folder or the data set, as errors name it."""
        if self._config.path is not None:
            return f"the folder {self._config.path}"
        revision = f" at {self._config.revision}" if self._config.revision else ""
        return f"the hub's data set {self._config.hub or self._config.HUB}{revision}"

    @cached_property
    def folder(self) -> Path:
        """The folder with the files; of the hub's, a copy in its cache. Raises UserError if it cannot be had."""
        if self._config.path is not None:
            return Path(self._config.path)
        from huggingface_hub import snapshot_download

        repository = self._config.hub or self._config.HUB
        with self._hub_errors():
            found = snapshot_download(
                repository, repo_type="dataset", revision=self._commit, allow_patterns=list(_HUB_FILES)
            )
        return Path(found)

    @cached_property
    def _commit(self) -> str:
        """The hub's commit; the last one seen where the hub cannot be reached."""
        from huggingface_hub import HfApi

        repository = self._config.hub or self._config.HUB
        with self._hub_errors():
            found = HfApi().resolve_revision(repository, repo_type="dataset", revision=self._config.revision)
        return found.resolved

    def fingerprint(self, files: Callable[[], Mapping[Any, Sequence[Path]]]) -> str:
        """The commit of a data set of the hub; of a local folder SHA-256 over the contents of ``files()``, 16 digits.

        Raises UserError if the hub does not tell, or a file cannot be read.
        """
        if self._config.path is None:
            return self._commit
        shards = {
            name if number == 0 else f"{name} {number}": path
            for name, paths in files().items()
            for number, path in enumerate(paths)
        }
        return fingerprint_of(shards)

    def splits(self, wanted: Iterable[Split], suffix: str) -> dict[Split, list[Path]]:
        """The files of each wanted split that has some, their shards in order.

        Names are tried in this order: ``train.json`` (``.jsonl``, ``.parquet``), ``train-00000-of-00002.parquet`` or
        ``train/0000.parquet`` as the hub has them, ``*_train.jsonl`` and ``train_complete.jsonl`` as some authors have
        them. Raises UserError if no split has a file, naming those that end in ``suffix``; or if one name fits two.
        """
        wanted = tuple(wanted)
        files = {split: self._of_split(split) for split in wanted}
        found = {split: paths for split, paths in files.items() if paths}
        if not found:
            names = ", ".join(f"{split}{suffix}" for split in wanted)
            raise UserError(
                f"recipe field benchmark.{self._field}: {self.where} holds none of {names}; "
                f"expected the files of {self._benchmark}."
            )
        return found

    def files(self, wanted: Mapping[str, Sequence[str]], field: str) -> dict[str, list[Path]]:
        """Files by what they hold, each by patterns of which the first that any file fits counts.

        Raises UserError that names those without a file by their first pattern, and the recipe's ``field``.
        """
        found = {name: self._first(patterns, shards=True) for name, patterns in wanted.items()}
        missing = [wanted[name][0] for name, paths in found.items() if not paths]
        if missing:
            raise UserError(
                f"recipe field benchmark.{self._field}: {self.where} does not hold {', '.join(missing)}; "
                f"expected {self._benchmark}'s file of each of benchmark.{field}."
            )
        return found

    @property
    def _field(self) -> str:
        return "hub" if self._config.path is None else "path"

    def _of_split(self, split: Split) -> list[Path]:
        for name in _NAMES[split]:
            places = ["", *(f"{folder}/" for folder in (*self._config.FOLDERS, "data"))]
            alone = [f"{place}{name}{suffix}" for place in places for suffix in _SUFFIXES]
            shards = [
                f"{place}{name}{end}"
                for place in places
                for suffix in _SUFFIXES
                for end in (f"-[0-9]*-of-[0-9]*{suffix}", f"/[0-9]*{suffix}")
            ]
            titled = [
                f"{place}{begin}{end}"
                for place in places
                for suffix in _SUFFIXES
                for begin in (f"*_{name}", f"*-{name}", f"*-{name.title()}")
                for end in (suffix, f"_complete{suffix}")
            ] + [f"{place}{name}_complete{suffix}" for place in places for suffix in _SUFFIXES]
            if found := (
                self._first(alone, shards=False)
                or self._first(shards, shards=True)
                or self._first(titled, shards=False)
            ):
                return found
        return []

    def _first(self, patterns: Iterable[str], *, shards: bool) -> list[Path]:
        """What fits the first pattern that anything fits; several only where they are ``shards`` of one file."""
        for pattern in patterns:
            found = sorted(path for path in self.folder.glob(pattern) if path.is_file())
            if len(found) > 1 and not shards:
                names = ", ".join(path.name for path in found)
                raise UserError(
                    f"recipe field benchmark.{self._field}: {self.where} holds {names}; expected one such file."
                )
            if found:
                return found
        return []

    @contextmanager
    def _hub_errors(self) -> Iterator[None]:
        from huggingface_hub import is_offline_mode
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
            RevisionResolutionError,
        )

        name, at = self._config.hub or self._config.HUB, f"recipe field benchmark.hub: {self.where}"
        try:
            yield
        except GatedRepoError as error:
            raise UserError(
                f"{at} is gated: accept its terms on the hub, then run `hf auth login`, or give a folder in "
                "benchmark.path."
            ) from error
        except RepositoryNotFoundError as error:
            raise UserError(
                f"{at} is not there; expected a public one, or a folder in benchmark.path."
            ) from error
        except RevisionNotFoundError as error:
            raise UserError(
                f"recipe field benchmark.revision: the hub's data set {name} has no revision "
                f"{self._config.revision!r}; expected a branch, tag or commit of it."
            ) from error
        except (RevisionResolutionError, HfHubHTTPError, OSError) as error:
            why = (
                "the hub is switched off (HF_HUB_OFFLINE=1)"
                if is_offline_mode()
                else "the hub cannot be reached"
            )
            raise UserError(
                f"{at} is not in the hub's local cache and {why}: download it where there is a network, or give a "
                "folder in benchmark.path."
            ) from error
