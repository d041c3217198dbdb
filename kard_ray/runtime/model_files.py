"""What the files of a model tell without the libraries that run it.

``AutoTokenizer`` and ``AutoConfig`` import torch, scikit-learn and more than a thousand modules besides to find a class
by its name: seconds in each worker that only renders prompts, and in the driver.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def load_tokenizer(folder: str) -> Any:
    """The tokenizer in ``folder``, of the class and with the settings that ``AutoTokenizer`` gives it."""
    settings = _json(folder, "tokenizer_config.json")
    # transformers has saved it as its file alone: no class of a model adds anything.
    if settings.get("tokenizer_class") == "TokenizersBackend" and settings.get("backend") == "tokenizers":
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def is_encoder_decoder(folder: str) -> bool:
    """Whether the model in ``folder`` is one such as T5; transformers writes down where it is so."""
    return bool(_json(folder, "config.json").get("is_encoder_decoder", False))


def _json(folder: str, name: str) -> dict[str, Any]:
    path = Path(folder) / name
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
