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
        if not texts:
            return np.empty((0, self.model.get_embedding_dimension() or 0), np.float32)
        # Texts of like length in tokens go in one batch. The library sorts by characters, which pads texts with many
        # figures by 40 % (the World Factbook).
        limit = self.model.max_seq_length
        tokens = self.model.tokenizer(texts, truncation=limit is not None, max_length=limit)["input_ids"]
        order = sorted(range(len(texts)), key=lambda at: -len(tokens[at]))
        with self.torch.inference_mode():
            vectors = [
                self.model.encode(
                    [texts[at] for at in order[first : first + self.batch_size]],
                    batch_size=self.batch_size,
                    convert_to_numpy=False,
                    convert_to_tensor=True,
                    show_progress_bar=False,
                ).float()
                for first in range(0, len(order), self.batch_size)
            ]
            found = self.torch.nn.functional.normalize(self.torch.cat(vectors), dim=-1).cpu().numpy()
        result = np.empty_like(found)
        result[order] = found
        return result

    def __call__(self, table: pa.Table) -> pa.Table:
        """PASSAGES in, ``embedded`` out, same rows in the same order."""
        vectors = self.encode([self.prefix + content for content in table["content"].to_pylist()])
        flat = pa.array(vectors.reshape(-1), pa.float32())
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        schema = embedded(vectors.shape[1])
        return table.append_column(schema.field("vector"), column).cast(schema)
