"""Open a table with LanceDB, which is imported only then.

The import takes a second, and most processes that know of a knowledge base (a dry run, a training, an engine) never
open its table: those that search read the memory-mapped index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kard_ray.knowledge.passage import TABLE

if TYPE_CHECKING:
    from lancedb.table import Table


def open_table(folder: str, name: str = TABLE) -> Table:
    """The newest version of the table ``name`` in ``folder``."""
    import lancedb

    return lancedb.connect(folder).open_table(name)
