"""All corpus readers; a new one is a new file and one name here (see ``reader`` for what it must do)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kard_ray.knowledge.readers.beir import BeirCorpus
from kard_ray.knowledge.readers.csv import CsvCorpus
from kard_ray.knowledge.readers.factbook import FactbookCorpus
from kard_ray.knowledge.readers.hf import HfCorpus
from kard_ray.knowledge.readers.jsonl import JsonlCorpus
from kard_ray.knowledge.readers.medquad import MedquadCorpus
from kard_ray.knowledge.readers.openbookqa import OpenbookqaCorpus
from kard_ray.knowledge.readers.parquet import ParquetCorpus
from kard_ray.knowledge.readers.strategyqa import StrategyqaCorpus
from kard_ray.knowledge.readers.text import TextCorpus

Corpus = Annotated[
    BeirCorpus
    | CsvCorpus
    | FactbookCorpus
    | HfCorpus
    | JsonlCorpus
    | MedquadCorpus
    | OpenbookqaCorpus
    | ParquetCorpus
    | StrategyqaCorpus
    | TextCorpus,
    Field(discriminator="kind"),
]
