from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from kard_ray.runtime.model_files import is_encoder_decoder, load_tokenizer
from tests.tiny_models import tiny_bert

TEXT = "Norway is <|im_end|> larger: 9,460,972"


@pytest.mark.parametrize("model", ["llama_folder", "t5_folder"])
def test_a_tokenizer_is_the_one_that_transformers_finds(request: pytest.FixtureRequest, model: str) -> None:
    folder = str(request.getfixturevalue(model))
    mine, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert type(mine) is type(theirs)
    assert repr(mine) == repr(theirs)
    assert mine.chat_template == theirs.chat_template
    assert mine(TEXT).input_ids == theirs(TEXT).input_ids
    assert is_encoder_decoder(folder) == AutoConfig.from_pretrained(folder).is_encoder_decoder


def test_a_tokenizer_of_its_own_class_keeps_it(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("TokenizersBackend", "BertTokenizer"))
    assert type(load_tokenizer(str(folder))) is type(AutoTokenizer.from_pretrained(folder))
    assert type(load_tokenizer(str(folder))).__name__ == "BertTokenizer"


def test_neither_takes_the_libraries_that_run_models(llama_folder: Path) -> None:
    code = (
        "import sys; from kard_ray.runtime.model_files import is_encoder_decoder, load_tokenizer\n"
        f"load_tokenizer({str(llama_folder)!r}), is_encoder_decoder({str(llama_folder)!r})\n"
        "print({'torch', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", done.stdout
