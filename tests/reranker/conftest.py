from __future__ import annotations

from pathlib import Path

import pytest

from tests.reranker.training_cases import VOCABULARY
from tests.tiny_models import VOCAB_TEXT, tiny_bert


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "bert", f"{VOCAB_TEXT} {VOCABULARY}")
