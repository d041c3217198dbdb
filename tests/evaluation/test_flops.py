"""Formulas against what torch counts while tiny random models run, with attention written out (eager)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    DistilBertConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MPNetConfig,
    MT5Config,
    OPTConfig,
    Phi3Config,
    Qwen3Config,
    Starcoder2Config,
    T5Config,
)

from kard_ray.evaluation.flops import (
    Cost,
    decode_flops,
    encoder_flops,
    prefill_flops,
    question_cost,
    skintern_flops,
    training_flops,
)
from kard_ray.evaluation.model_shape import ModelShape, Stack, encoder_shape, model_shape
from tests.evaluation.sizes import GROUPED, SIZES

GPT2 = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
OPT: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 72
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": 96, "d_model": 32, "d_kv": 6, "d_ff": 72, "num_layers": 3, "num_decoder_layers": 2,
    "num_heads": 4, "decoder_start_token_id": 0, "pad_token_id": 0,
}  # fmt: skip

DECODERS = {
    "llama, grouped queries, tied": LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "llama, wide heads, not tied": LlamaConfig(**GROUPED, head_dim=12, tie_word_embeddings=False),
    "qwen3": Qwen3Config(**GROUPED, head_dim=16),
    "gemma2": Gemma2Config(**GROUPED, head_dim=16, query_pre_attn_scalar=16),
    "phi3": Phi3Config(**GROUPED),
    "starcoder2": Starcoder2Config(**GROUPED),
    "gpt_neox": GPTNeoXConfig(**SIZES),
    "gpt2": GPT2Config(**GPT2),
    "gpt2, narrow": GPT2Config(**GPT2, n_inner=48),
    "opt": OPTConfig(**OPT, word_embed_proj_dim=32),
    "opt, projected embeddings": OPTConfig(**OPT, word_embed_proj_dim=16),
}
ENCODER_DECODERS = {
    "t5": T5Config(**T5, feed_forward_proj="relu"),
    "t5, gated, not tied": T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "mt5": MT5Config(**T5),
}


def counted(run: Any) -> int:
    """What torch counts, without the rotary embeddings' outer product of positions and frequencies."""
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    by_module = counter.get_flop_counts()
    rotary = sum(
        sum(counts.values()) for name, counts in by_module.items() if name.rpartition(".")[2] == "rotary_emb"
    )
    return counter.get_total_flops() - rotary


def ids(tokens: int) -> torch.Tensor:
    return torch.arange(tokens)[None] % 90 + 3


@pytest.fixture(scope="module", params=DECODERS.values(), ids=list(DECODERS))
def decoder(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(request.param, attn_implementation="eager").eval()


@pytest.fixture(scope="module", params=ENCODER_DECODERS.values(), ids=list(ENCODER_DECODERS))
def encoder_decoder(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return AutoModelForSeq2SeqLM.from_config(request.param, attn_implementation="eager").eval()


@torch.no_grad()
def test_prefill_of_a_decoder_is_what_torch_counts(decoder: Any) -> None:
    for tokens in (1, 11):
        real = counted(lambda tokens=tokens: decoder(input_ids=ids(tokens), logits_to_keep=1))
        assert prefill_flops(model_shape(decoder.config), tokens) == real


@torch.no_grad()
def test_each_decoding_step_with_a_cache_is_what_torch_counts(decoder: Any) -> None:
    shape = model_shape(decoder.config)
    state = decoder(input_ids=ids(7), use_cache=True)
    for generated in (2, 3, 4):  # the step that makes this many tokens
        real = counted(
            lambda state=state: decoder(
                input_ids=ids(1), past_key_values=state.past_key_values, use_cache=True
            )
        )
        assert decode_flops(shape, 7, generated) - decode_flops(shape, 7, generated - 1) == real
    assert decode_flops(shape, 7, 1) == decode_flops(shape, 7, 0) == 0


def test_training_a_decoder_is_what_torch_counts(decoder: Any) -> None:
    def step() -> None:
        output = decoder(input_ids=ids(12), use_cache=False, logits_to_keep=torch.arange(7, 12))
        output.logits.sum().backward()

    assert training_flops(model_shape(decoder.config), 7, 5) == counted(step)


@torch.no_grad()
def test_prefill_of_an_encoder_decoder_is_what_torch_counts(encoder_decoder: Any) -> None:
    for tokens in (1, 9):
        real = counted(
            lambda tokens=tokens: encoder_decoder(input_ids=ids(tokens), decoder_input_ids=torch.zeros(1, 1).long())
        )  # fmt: skip
        assert prefill_flops(model_shape(encoder_decoder.config), tokens) == real


@torch.no_grad()
def test_generation_of_an_encoder_decoder_is_what_torch_counts(encoder_decoder: Any) -> None:
    shape = model_shape(encoder_decoder.config)
    for generated in (1, 2, 6):
        real = counted(
            lambda generated=generated: encoder_decoder.generate(
                ids(9), attention_mask=torch.ones(1, 9).long(),
                min_new_tokens=generated, max_new_tokens=generated, do_sample=False, num_beams=1,
            )
        )  # fmt: skip
        assert prefill_flops(shape, 9) + decode_flops(shape, 9, generated) == real


def test_training_an_encoder_decoder_is_what_torch_counts(encoder_decoder: Any) -> None:
    def step() -> None:
        encoder_decoder(input_ids=ids(9), labels=ids(4)).loss.backward()

    assert training_flops(model_shape(encoder_decoder.config), 9, 4) == counted(step)


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [
        BertConfig(**SIZES),
        MPNetConfig(**SIZES),
        DistilBertConfig(vocab_size=96, dim=32, n_layers=2, n_heads=4, hidden_dim=80),
    ],
    ids=["bert", "mpnet", "distilbert"],
)
def test_an_encoder_is_what_torch_counts(config: Any) -> None:
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # sentence embeddings are means of token vectors
    real = counted(lambda: model(input_ids=ids(13)))
    assert encoder_flops(encoder_shape(config), 13) == real
    projected = encoder_flops(encoder_shape(config, head_weights=32 * 32), 13)
    assert projected - real == counted(lambda: torch.nn.Linear(32, 32, bias=False)(torch.zeros(13, 32)))


LLAMA = model_shape(LlamaConfig(**GROUPED))
SHAPES = st.sampled_from([LLAMA, model_shape(OPTConfig(**OPT)), model_shape(T5Config(**T5))])


@given(st.integers(1, 400))
def test_a_prompt_read_token_by_token_costs_what_it_saves_of_the_square_less(tokens: int) -> None:
    one_by_one = prefill_flops(LLAMA, 1) + decode_flops(LLAMA, 1, tokens)
    outputs = 2 * LLAMA.output_weights * (tokens - 1)  # decoding predicts behind every token
    stack = LLAMA.decoder
    # Pairs of a token with one behind it: two products of a head's size for each
    later = tokens * (tokens - 1) // 2
    saved = 4 * stack.layers * stack.heads * stack.head_size * later
    assert one_by_one - outputs == prefill_flops(LLAMA, tokens) - saved


@given(SHAPES, st.integers(0, 200), st.integers(0, 60))
def test_the_cost_grows_with_every_token(shape: ModelShape, prompt: int, generated: int) -> None:
    assert prefill_flops(shape, prompt + 1) > prefill_flops(shape, prompt) >= 0
    longer = decode_flops(shape, prompt, generated + 1)
    assert longer >= decode_flops(shape, prompt, generated) >= 0
    assert (longer > 0) == (generated >= 1)
    assert training_flops(shape, prompt + 1, 5) > training_flops(shape, prompt, 5)


CALLS = st.lists(
    st.fixed_dictionaries(
        {"prompt_tokens": st.integers(1, 90), "generated_tokens": st.lists(st.integers(0, 30), max_size=4)}
    ),
    max_size=3,
)


@given(SHAPES, CALLS, CALLS)
def test_calls_add_up_and_samples_share_their_prompt(
    shape: ModelShape, first: list[Any], second: list[Any]
) -> None:
    a, b, both = (question_cost(shape, calls) for calls in (first, second, first + second))
    assert (both.prefill, both.decode) == (a.prefill + b.prefill, a.decode + b.decode)
    assert both.prefill == sum(prefill_flops(shape, call["prompt_tokens"]) for call in first + second)
    single = [
        {"prompt_tokens": call["prompt_tokens"], "generated_tokens": [sample]}
        for call in first
        for sample in call["generated_tokens"]
    ]
    assert question_cost(shape, single).decode == a.decode


def test_a_cost_is_the_sum_of_its_four_parts() -> None:
    cost = question_cost(LLAMA, [{"prompt_tokens": 3, "generated_tokens": [2]}], retriever=10.0, reranker=5.0)
    assert cost == Cost(
        prefill=prefill_flops(LLAMA, 3), decode=decode_flops(LLAMA, 3, 2), retriever=10.0, reranker=5.0
    )
    assert cost.as_dict()["total"] == cost.total == cost.prefill + cost.decode + 15


def test_a_prompt_of_a_billion_parameters_costs_two_operations_each_and_attention() -> None:
    # SmolLM2-135M by hand: 30 layers of 576, 9 heads of 64 with 3 for keys, MLP 1536, 49,152 tokens.
    layer = 576 * 576 * 2 + 2 * 576 * 192 + 3 * 576 * 1536
    shape = ModelShape(
        decoder=Stack(layers=30, hidden=576, heads=9, kv_heads=3, head_size=64, inner=1536, gated=True),
        vocabulary=49152,
        output_width=576,
    )
    assert prefill_flops(shape, 100) == 100 * 2 * 30 * layer + 30 * 4 * 576 * 100**2 + 2 * 576 * 49152


TINYLLAMA = ModelShape(
    decoder=Stack(layers=22, hidden=2048, heads=32, kv_heads=4, head_size=64, inner=5632, gated=True),
    vocabulary=32000,
    output_width=2048,
)
LLAMA2 = ModelShape(
    decoder=Stack(layers=32, hidden=4096, heads=32, kv_heads=32, head_size=128, inner=11008, gated=True),
    vocabulary=32000,
    output_width=4096,
)


def test_skinterns_measure_gives_its_published_ratio_of_llama2_to_tinyllama() -> None:
    prompts = [120, 180, 240]
    llama2, tinyllama = (
        sum(skintern_flops(shape, tokens) for tokens in prompts) for shape in (LLAMA2, TINYLLAMA)
    )
    assert round(llama2 / tinyllama, 1) == 6.4  # Table 1, zero-shot


@torch.no_grad()
def test_skinterns_measure_counts_the_linear_layers_of_a_forward_pass(decoder: Any) -> None:
    layers: list[int] = []

    def count(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        layers.append(output.numel() * inputs[0].shape[-1])

    kinds = ("Linear", "Conv1D")
    modules = [module for module in decoder.modules() if type(module).__name__ in kinds]
    hooks = [module.register_forward_hook(count) for module in modules]
    decoder(input_ids=ids(11))
    for hook in hooks:
        hook.remove()
    assert skintern_flops(model_shape(decoder.config), 11) == sum(layers)


@settings(max_examples=20)
@given(st.integers(1, 300))
def test_skinterns_measure_is_linear_in_the_prompt(tokens: int) -> None:
    assert skintern_flops(LLAMA, 2 * tokens) == 2 * skintern_flops(LLAMA, tokens)
