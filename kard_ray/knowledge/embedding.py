"""Passages to vectors with a sentence encoder; one encoder per Ray actor."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from kard_ray.knowledge.passage import embedded


class Embedder:
    """Adds ``content`` and ``vector`` (unit length, float32) to batches of PASSAGES; an actor's callable."""

    def __init__(
        self, model_path: str, dtype: Literal["float32", "bfloat16"], batch_size: int, threads: int
    ) -> None:
        # Imported here: these take seconds, and the recipe, which every process reads, needs none of them.
        import torch
        from sentence_transformers import SentenceTransformer

        if threads:
            torch.set_num_threads(threads)
        self.torch = torch
        self.model = SentenceTransformer(
            model_path,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"torch_dtype": getattr(torch, dtype)},
        )
        self.batch_size = batch_size

    def encode(self, texts: list[str]) -> np.ndarray:
        """``[len(texts), dimensions]`` float32, each row of length 1."""
        with self.torch.inference_mode():
            vectors = self.model.encode(
                texts, batch_size=self.batch_size, convert_to_numpy=False, convert_to_tensor=True
            )
        return self.torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """PASSAGES in, ``embedded`` out, same rows in the same order."""
        content = [
            f"{title}\n{text}" if title else text
            for title, text in zip(batch["title"].to_pylist(), batch["text"].to_pylist(), strict=True)
        ]
        vectors = self.encode(content)
        schema = embedded(vectors.shape[1])
        flat = pa.array(vectors.reshape(-1), pa.float32())
        columns = [batch[name].combine_chunks() for name in ("passage_id", "title", "text")]
        return pa.table(
            [*columns, pa.array(content), pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])],
            schema=schema,
        )
