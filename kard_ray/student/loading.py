"""The model that is trained: all its weights, or a LoRA adapter on frozen ones, in 4 bits if asked for."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, BitsAndBytesConfig

from kard_ray.student.config import StudentConfig
from kard_ray.student.pruning import keep_layers


def load_student(model_path: str, config: StudentConfig) -> Any:
    """The model to train on the CPU (with 4 bits: on this process's GPU); frozen weights need no gradient."""
    architecture = AutoConfig.from_pretrained(model_path, local_files_only=True)
    kind = AutoModelForSeq2SeqLM if architecture.is_encoder_decoder else AutoModelForCausalLM
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    more: dict[str, Any] = {}
    if config.quantization == "nf4":
        # QLoRA (Dettmers et al. 2023): NF4 with quantized constants, computing in the precision of training.
        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        more["device_map"] = {"": torch.cuda.current_device()}
    model = kind.from_pretrained(
        model_path, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False, **more
    )
    if config.layers is not None:
        keep_layers(model, config.layers)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.lora_rank:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model,
            LoraConfig(
                r=config.lora_rank,
                lora_alpha=2 * config.lora_rank,  # SKIntern's ratio (papers' LoRA settings, B5)
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="SEQ_2_SEQ_LM" if architecture.is_encoder_decoder else "CAUSAL_LM",
            ),
            # FSDP divides a block's weights as one, so they have one precision; the master copies are float32 anyway.
            autocast_adapter_dtype=config.sharding != "fsdp",
        )
        if config.gradient_checkpointing:
            model.enable_input_require_grads()
    return model
