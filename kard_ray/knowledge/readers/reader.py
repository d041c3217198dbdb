"""What a corpus reader is: a configuration block that can read the documents it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from kard_ray.knowledge.passage import BadRow, Document


class CorpusReader(Protocol):
    """One kind of corpus; it stands in a recipe as ``knowledge.corpus`` and is sent to workers as it is."""

    LONG: ClassVar[bool]
    """True: documents are longer than passages and are cut unless the recipe says otherwise.
    False: one document is one passage."""

    @property
    def kind(self) -> str:
        """The name that a recipe calls it by."""
        ...

    def fingerprint(self) -> str:
        """A hash of the contents: an edited corpus is another knowledge base.

        Raises UserError when there is nothing to read.
        """
        ...

    def shards(self) -> list[str]:
        """The parts of the corpus; each may be read by another worker, in any order.

        Raises UserError, with the recipe's field, when there is nothing to read.
        """
        ...

    def read(self, shard: str) -> Iterator[Document | BadRow]:
        """The documents of one shard as a stream; a row that is none comes with its place and the reason.

        Raises UserError when the shard as a whole cannot be read, such as a file that was cut off.
        """
        ...
