"""Floating-point operations of a question, prefill, decoding, retriever and reranker apart; and of training.

What is counted: matrix products, a multiply-add as two operations, as torch's ``FlopCounterMode`` counts them, against
which each formula here is tested. Norms, activations, softmax, rotary embeddings and look-ups are not counted (below
1 % for the models in use). Attention's part, 4 x heads x head size per layer and pair of a query and a key, is
included. In prefill and training a causal model's pairs are the full square of the prompt, not the lower triangle:
the convention of PaLM (appendix B), of Chinchilla (appendix F) and of profilers, and an upper bound for kernels that
skip the future half; :func:`causal_saving` is what such a kernel saves. While decoding with a key-value cache a token
meets the tokens before it and itself, neither more nor less. The output layer is counted where a token is predicted:
once for a prompt, once for each further token. A sliding window is counted as full attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kard_ray.evaluation.model_shape import EncoderShape, ModelShape, Stack


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """FLOPs of one question, or their mean over questions.

    ``retriever`` is the encoding of the query (0 for BM25, which multiplies no matrices), ``reranker`` the scoring of
    the candidates.
    """

    prefill: float
    decode: float
    retriever: float = 0.0
    reranker: float = 0.0

    @property
    def total(self) -> float:
        """The sum of the four."""
        return self.prefill + self.decode + self.retriever + self.reranker

    def as_dict(self) -> dict[str, float]:
        """The four and their ``total``, as results.json has them."""
        return {
            "prefill": self.prefill,
            "decode": self.decode,
            "retriever": self.retriever,
            "reranker": self.reranker,
            "total": self.total,
        }


def question_cost(
    shape: ModelShape,
    calls: Sequence[Mapping[str, Any]],
    *,
    retriever: float = 0.0,
    reranker: float = 0.0,
) -> Cost:
    """The cost of one row of PREDICTIONS, from its ``calls``.

    Each call prefills its prompt once and decodes every sample drawn from it. The second pass of a two-pass method is a
    call of its own, prefilled from the beginning: what an engine's prefix cache saves is not deducted.
    """
    return Cost(
        prefill=sum(prefill_flops(shape, call["prompt_tokens"]) for call in calls),
        decode=sum(
            decode_flops(shape, call["prompt_tokens"], sample)
            for call in calls
            for sample in call["generated_tokens"]
        ),
        retriever=retriever,
        reranker=reranker,
    )


def prefill_flops(shape: ModelShape, prompt_tokens: int) -> int:
    """Reading a prompt and predicting the first token; 0 without a prompt.

    Of an encoder-decoder: encoding the prompt, its keys and values for the decoder, and the decoder's start token.
    """
    if not prompt_tokens:
        return 0
    if shape.encoder is None:
        return _read(shape, prompt_tokens, prompt_tokens**2) + 2 * shape.output_weights
    return _encoded(shape, shape.encoder, prompt_tokens) + _step(shape, prompt_tokens, 1, 1)


def decode_flops(shape: ModelShape, prompt_tokens: int, generated_tokens: int) -> int:
    """The tokens behind the first one, each a step with a key-value cache; 0 for one token or none.

    The first of ``generated_tokens`` comes from prefill; the last, EOS included if it was written, is not read again.
    """
    steps = max(0, generated_tokens - 1)
    if shape.encoder is None:
        keys = steps * prompt_tokens + steps * (steps + 1) // 2  # step i meets the prompt and i tokens
        return _read(shape, steps, keys) + 2 * steps * shape.output_weights
    keys = steps + steps * (steps + 1) // 2  # the start token and i tokens
    return _step(shape, prompt_tokens, steps, keys)


def training_flops(shape: ModelShape, prompt_tokens: int, target_tokens: int) -> int:
    """One row forward and backward, without padding: three times the forward pass.

    The backward pass costs twice the forward one: a product each for the gradients of inputs and of weights (all
    weights are trained; with LoRA the products for frozen weights are saved, which is not deducted). The output layer
    is at the target's tokens only, as in training. Gradient checkpointing's second forward pass is not counted.
    """
    output = 2 * target_tokens * shape.output_weights
    if shape.encoder is None:
        tokens = prompt_tokens + target_tokens
        return 3 * (_read(shape, tokens, tokens**2) + output)
    return 3 * (
        _encoded(shape, shape.encoder, prompt_tokens)
        + _step(shape, prompt_tokens, target_tokens, target_tokens**2)
    )


def encoder_flops(shape: EncoderShape, tokens: int) -> int:
    """A BERT-like encoder over one text of ``tokens``: a retriever's query, a reranker's question or passage."""
    return _layers(shape.stack, tokens, tokens**2) + 2 * tokens * shape.head_weights


def skintern_flops(shape: ModelShape, prompt_tokens: int) -> int:
    """SKIntern's own measure of one prompt, for its column "relative FLOPs" and for nothing else.

    Its code runs ``thop.profile`` over one forward pass of each prompt: multiply-adds of the linear layers (one
    operation each, the output layer at every position), without attention's products, generated tokens, retrieval or
    compression. Published are sums over the BBH test prompts, divided by the zero-shot sum of TinyLLaMA-1.1B; a
    two-pass method adds its second prompts.
    """
    weights = (
        shape.decoder.layers * shape.decoder.self_weights + shape.projection_weights + shape.output_weights
    )
    if shape.encoder is None:
        return prompt_tokens * weights
    # One decoder token, the start; the paper has no encoder-decoder students.
    cross = shape.decoder.layers * shape.decoder.cross_weights * (prompt_tokens + 1)
    return prompt_tokens * shape.encoder.layers * shape.encoder.self_weights + cross + weights


def _layers(stack: Stack, tokens: int, keys: int) -> int:
    """Self-attention and MLP of all layers; ``keys`` counts pairs of a query and a key."""
    return 2 * stack.layers * stack.self_weights * tokens + _pairs(stack, keys)


def _pairs(stack: Stack, keys: int) -> int:
    return 4 * stack.layers * stack.heads * stack.head_size * keys


def _read(shape: ModelShape, tokens: int, keys: int) -> int:
    """Tokens through a decoder-only model, without its output layer."""
    return _layers(shape.decoder, tokens, keys) + 2 * shape.projection_weights * tokens


def _encoded(shape: ModelShape, encoder: Stack, tokens: int) -> int:
    """The encoder, and the keys and values that the decoder's attention to it needs once."""
    keys_and_values = 2 * shape.decoder.layers * shape.decoder.cross_weights * tokens
    return _layers(encoder, tokens, tokens**2) + keys_and_values


def _step(shape: ModelShape, source_tokens: int, tokens: int, keys: int) -> int:
    """Tokens through the decoder of an encoder-decoder, each predicting one."""
    decoder = shape.decoder
    cross = 2 * decoder.layers * decoder.cross_weights * tokens + _pairs(decoder, tokens * source_tokens)
    return _layers(decoder, tokens, keys) + cross + 2 * tokens * shape.output_weights
