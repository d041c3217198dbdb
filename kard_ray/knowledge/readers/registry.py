"""All corpus readers; a new one is a new file and one name here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kard_ray.knowledge.readers.factbook import FactbookCorpus
from kard_ray.knowledge.readers.jsonl import JsonlCorpus

Corpus = Annotated[FactbookCorpus | JsonlCorpus, Field(discriminator="kind")]
