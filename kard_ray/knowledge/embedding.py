"""Passages to vectors with a sentence encoder; one encoder per Ray actor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from kard_ray.knowledge.passage import embedded


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedderConfig:
    """What an encoder is made from; picklable."""

    model_path: str
    dtype: Literal["float32", "bfloat16"]
    batch_size: int = 64
    threads: int = 1  # of this process; 0 leaves torch's default
    passage_prefix: str = ""  # before every passage


class Embedder:
    """Adds ``vector`` (unit length, float32) to tables of PASSAGES."""

    def __init__(self, config: EmbedderConfig) -> None:
        # Imported here: these take seconds, and the recipe, which every process reads, needs none of them.
        import torch
        from sentence_transformers import SentenceTransformer

        if config.threads:
            torch.set_num_threads(config.threads)
        self.torch = torch
        self.model = SentenceTransformer(
            config.model_path,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"torch_dtype": getattr(torch, config.dtype)},
        )
        self.batch_size, self.prefix = config.batch_size, config.passage_prefix

    def encode(self, texts: list[str]) -> np.ndarray:
        """``[len(texts), dimensions]`` float32, each row of length 1."""
        with self.torch.inference_mode():
            # The encoder puts texts of like length in a batch by itself.
            vectors = self.model.encode(
                texts, batch_size=self.batch_size, convert_to_numpy=False, convert_to_tensor=True
            )
        return self.torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()

    def __call__(self, table: pa.Table) -> pa.Table:
        """PASSAGES in, ``embedded`` out, same rows in the same order."""
        vectors = self.encode([self.prefix + content for content in table["content"].to_pylist()])
        flat = pa.array(vectors.reshape(-1), pa.float32())
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        schema = embedded(vectors.shape[1])
        return table.append_column(schema.field("vector"), column).cast(schema)
