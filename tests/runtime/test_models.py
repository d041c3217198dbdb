from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import (
    ModelStatus,
    check_model,
    default_cache_dir,
    fingerprint,
    resolve_model,
)
from tests.tiny_models import tiny_bert, tiny_llama, tiny_t5


def test_a_directory_resolves_to_itself_with_a_fingerprint(model_directory: Path) -> None:
    model = resolve_model(str(model_directory))
    assert (model.ref, model.path) == (str(model_directory), str(model_directory))
    assert model.revision == fingerprint(model_directory)
    assert check_model(str(model_directory)).status is ModelStatus.READY


def test_the_fingerprint_changes_with_weights_of_the_same_size(model_directory: Path) -> None:
    before = fingerprint(model_directory)
    (model_directory / "model.safetensors").write_bytes(bytes([1]) * (3 << 20))
    assert fingerprint(model_directory) != before


def test_the_fingerprint_ignores_the_manifest_and_hidden_files(model_directory: Path) -> None:
    before = fingerprint(model_directory)
    (model_directory / "manifest.json").write_text('{"seconds": 1}')
    (model_directory / ".cache").mkdir()
    (model_directory / ".cache" / "x.json").write_text("{}")
    assert fingerprint(model_directory) == before


def test_the_fingerprint_does_not_depend_on_where_the_directory_is(
    model_directory: Path, tmp_path: Path
) -> None:
    assert fingerprint(Path(shutil.copytree(model_directory, tmp_path / "copy"))) == fingerprint(
        model_directory
    )


def test_a_directory_without_config_is_refused(model_directory: Path) -> None:
    (model_directory / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        resolve_model(str(model_directory))


def test_an_adapter_is_not_a_model(model_directory: Path) -> None:
    (model_directory / "config.json").rename(model_directory / "adapter_config.json")
    with pytest.raises(UserError, match="LoRA adapter"):
        resolve_model(str(model_directory))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_only_safetensors_are_read(model_directory: Path, name: str) -> None:
    (model_directory / "model.safetensors").rename(model_directory / name)
    with pytest.raises(UserError, match=rf"found only {name}, expected \*\.safetensors"):
        resolve_model(str(model_directory))


def test_missing_shards_are_named(model_directory: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (model_directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-00002\.safetensors of the weights is missing"):
        resolve_model(str(model_directory))


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        ("bundled:llama", "expected one of bundled:minilm, bundled:smollm2"),
        ("./nowhere", "no such directory"),
        ("/nowhere/at/all", "no such directory"),
        ("gpt2", "expected a hub id"),
        ("", "expected a hub id"),
        ("a/b/c", "expected a hub id"),
        ("s3://bucket/model", "got a URL"),
        (__file__, "got a file"),
    ],
)
def test_what_is_no_reference_is_told_in_a_sentence(ref: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve_model(ref)
    check = check_model(ref)
    assert check.status is ModelStatus.MISSING
    assert check.reason is not None
    assert sentence in check.reason


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "kard_ray"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_dir() == Path.home() / ".cache" / "kard_ray"


def test_the_tiny_llama_resolves_and_generates(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = resolve_model(str(tiny_llama(tmp_path / "llama"))).path
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    chat = [{"role": "user", "content": "héllo ☃ 12"}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    text = "<|im_start|>user\nhéllo ☃ 12<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(prompt.input_ids[0]) == text
    assert (
        model.generate(**prompt, min_new_tokens=3, max_new_tokens=3).shape[1] == prompt.input_ids.shape[1] + 3
    )


def test_the_tiny_bert_embeds_sentences_of_length_one(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(resolve_model(str(tiny_bert(tmp_path / "bert"))).path, device="cpu")
    vectors = encoder.encode(["the population of Norway", "zebra"])
    assert vectors.shape == (2, 32)
    assert (vectors**2).sum(1) == pytest.approx([1, 1], abs=1e-5)
    assert vectors[0] @ vectors[1] < 0.99


def test_the_tiny_t5_generates(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    path = resolve_model(str(tiny_t5(tmp_path / "t5"))).path
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForSeq2SeqLM.from_pretrained(path)
    prompt = tokenizer("Which is larger?", return_tensors="pt")
    assert prompt.input_ids[0, -1] == tokenizer.eos_token_id
    assert model.generate(**prompt, min_new_tokens=3, max_new_tokens=3).shape == (1, 4)
