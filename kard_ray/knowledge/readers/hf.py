"""A Hugging Face data set: from the hub, or a folder made by ``save_to_disk``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar, Literal

from pydantic import Field

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import files
from kard_ray.knowledge.readers.columns import BATCH_ROWS, documents_of
from kard_ray.knowledge.readers.fields import FieldMapping, check_columns
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

_ROWS_PER_SHARD = 50_000


class HfCorpus(Frozen):
    """Rows of a data set that the library ``datasets`` loads; no code of the data set is ever run.

    Rows are memory-mapped. A node that has not the data set in its cache downloads it; a saved folder must
    be there on every node.
    """

    LONG: ClassVar[bool] = False

    kind: Literal["hf"] = "hf"
    dataset: str = Field(min_length=1)  # an id of the hub such as owner/name, or a folder
    config: str | None = None  # for a data set with several configurations
    split: str = Field("train", min_length=1)  # a folder saved without splits has none, and all of it is read
    revision: str | None = None  # of the hub: branch, tag or commit
    fields: FieldMapping = FieldMapping()  # which columns hold id, title, text and the rest

    def fingerprint(self) -> str:
        """A hash over a saved folder's contents; of a hub data set, the library's own over its files."""
        dataset, saved = self._load(), self._saved_folder()
        if saved is None:
            return str(dataset._fingerprint)
        return files.fingerprint_of(_arrow_files(saved))

    def shards(self) -> list[str]:
        """Ranges of rows as JSON: the data set, its fingerprint (the library's), start, stop."""
        dataset = self._load()
        # A folder is told as an absolute path: a worker may run in another directory.
        name = os.path.abspath(self.dataset) if os.path.isdir(self.dataset) else self.dataset
        check_columns(self.fields, dataset.column_names, where=self.dataset)
        if not len(dataset):
            raise UserError(f"recipe field knowledge.corpus.dataset: {self.dataset!r} has no rows.")
        return [
            json.dumps([name, dataset._fingerprint, at, min(at + _ROWS_PER_SHARD, len(dataset))])
            for at in range(0, len(dataset), _ROWS_PER_SHARD)
        ]

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """The rows of one range, in order; they are numbered from 1.

        Raises UserError if the data set is no longer the one that was divided into shards.
        """
        name, fingerprint, start, stop = json.loads(shard)
        dataset = _load_once(self.model_copy(update={"dataset": name}), fingerprint)
        if dataset._fingerprint != fingerprint:
            raise UserError(
                f"recipe field knowledge.corpus.dataset: {self.dataset!r} is not the same here as where the run "
                "was started; set field revision to a commit, or copy the folder to every node."
            )
        columns = self.fields.among(dataset.column_names)
        rows = dataset.select_columns(columns).select(range(start, stop)).with_format("arrow")
        first = start + 1
        for batch in rows.iter(BATCH_ROWS):
            yield from documents_of(batch, self.fields, where=self.dataset, first=first)
            first += batch.num_rows

    def _saved_folder(self) -> str | None:
        """The folder with the Arrow files, if ``dataset`` was made by ``save_to_disk``."""
        if os.path.isfile(os.path.join(self.dataset, "dataset_dict.json")):
            with open(os.path.join(self.dataset, "dataset_dict.json"), encoding="utf-8") as source:
                splits = json.load(source)["splits"]
            if self.split not in splits:
                raise UserError(
                    f"recipe field knowledge.corpus.split: {self.dataset!r} has no split {self.split!r}; "
                    f"its splits are: {', '.join(splits)}."
                )
            return os.path.join(self.dataset, self.split)
        return self.dataset if os.path.isfile(os.path.join(self.dataset, "state.json")) else None

    def _load(self) -> Any:
        import datasets

        try:
            if saved := self._saved_folder():
                if not _arrow_files(saved):  # which the library does not load
                    raise UserError(f"recipe field knowledge.corpus.dataset: {self.dataset!r} has no rows.")
                return datasets.load_from_disk(saved)
            return datasets.load_dataset(self.dataset, self.config, split=self.split, revision=self.revision)
        except (LookupError, OSError, RuntimeError, ValueError, datasets.exceptions.DatasetsError) as error:
            told = " ".join(str(error).split())
            field = "dataset"
            if re.search(r"(?:Unknown|Bad) split", told):
                field = "split"
            elif "BuilderConfig" in told or "Config name is missing" in told:
                field = "config"
            raise UserError(
                f"recipe field knowledge.corpus.{field}: data set {self.dataset!r} (config {self.config}, "
                f"split {self.split}) cannot be loaded: {told[:400].rstrip('.')}; expected an id of the Hugging "
                "Face hub that can be reached or is in the cache, or a folder made by save_to_disk."
            ) from error


def _arrow_files(saved: str) -> list[str]:
    return [os.path.join(saved, name) for name in sorted(os.listdir(saved)) if name.endswith(".arrow")]


@lru_cache(maxsize=2)
def _load_once(corpus: HfCorpus, fingerprint: str) -> Any:  # noqa: ARG001  # another fingerprint is another data set
    """Load for the first shard that this process reads: each load may ask the hub for the latest commit."""
    return corpus._load()
