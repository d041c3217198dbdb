"""Keep a rationale only if a verifier model, reading it, finds the gold option the most likely one (KARD's filter).

KARD's released verify_cot.py shows a frozen flan-t5-large question, options and rationale, then "So, the answer is",
and keeps the rationale if among the letters A to D the gold one is most likely. It always reads four letters; here each
question has its own options. It also shows the rationale with its conclusion, and then the verifier need only repeat
the letter that it has just read: whatever stands before, all pass that name the gold answer. So conclusions are cut
here before the model reads on, unless ``shown`` says otherwise. Its worked examples are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from kard_ray.benchmarks.rendering import AnswerForm, answer_text, question_block
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.models import ModelRef
from kard_ray.teacher.conclusions import reasoning
from kard_ray.teacher.filters.base import GroupFilter, Written
from kard_ray.teacher.filters.option_scores import OptionScorer

_CLOSING = " So the answer is"


class Verifier(Frozen):
    """Model filter: drops a rationale after which another option is more likely than the gold one.

    A question without options passes: it has nothing to choose from.
    """

    EXECUTION = frozenset({"batch_tokens", "replicas", "gpus_per_replica"})

    name: ClassVar[str] = "verifier"

    model: ModelRef = "google/flan-t5-large"  # causal or encoder-decoder
    # What is scored: letters, as in KARD, or the options' texts (mean log-probability of their tokens, so that long
    # options have no disadvantage); null: as the recipe's conclusions name options.
    answers: AnswerForm | None = None
    shown: Literal["reasoning", "whole"] = (
        "reasoning"  # whole: with its conclusion, as in KARD's released code
    )
    max_prompt_tokens: int = Field(1024, ge=32)  # a longer prompt loses the rationale's first words
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    batch_tokens: int = Field(8192, ge=1)  # prompt tokens, padding counted, in one forward pass
    replicas: int = Field(1, ge=1)  # actors with a model each
    gpus_per_replica: float = Field(0.0, ge=0)

    def load(self, model_path: str) -> GroupFilter:
        """The filter with its model, from the directory that ``model`` resolves to."""
        scorer = OptionScorer(model_path, dtype=self.dtype, batch_tokens=self.batch_tokens)
        return LoadedVerifier(settings=self, scorer=scorer)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedVerifier:
    """:class:`Verifier` with its model; judges each rationale by itself."""

    settings: Verifier
    scorer: OptionScorer

    @property
    def name(self) -> str:
        """The name used in recipes and manifests."""
        return self.settings.name

    def reasons(self, samples: Sequence[Written]) -> list[str | None]:
        """For each of ``samples``, of any questions, why to drop it, or None to keep it."""
        found: list[str | None] = [None] * len(samples)
        for form in ("text", "letter"):
            asked = [at for at, it in enumerate(samples) if it.options and self._form(it) == form]
            prompts = {at: ids for at in asked if (ids := self._prompt(samples[at], form)) is not None}
            fitting = list(prompts)
            answers = [
                [answer_text(samples[at].options, i, form) for i in range(len(samples[at].options))]
                for at in fitting
            ]
            scores = self.scorer.scores(list(prompts.values()), answers, per_token=form == "text")
            for at, names, values in zip(fitting, answers, scores, strict=True):
                best = max(range(len(values)), key=lambda i: values[i])
                if best != samples[at].answer:
                    found[at] = f"the verifier answers {names[best]!r}, not {names[samples[at].answer]!r}"
            for at in set(asked) - set(fitting):
                found[at] = (
                    f"question and options alone take more than {self.settings.max_prompt_tokens} tokens"
                )
        return found

    def _form(self, written: Written) -> AnswerForm:
        return self.settings.answers or written.answer_form

    def _prompt(self, written: Written, form: AnswerForm) -> list[int] | None:
        """Question, options, rationale, and the opening of a conclusion; None if even the question is too long."""
        text = reasoning(written.rationale) if self.settings.shown == "reasoning" else written.rationale
        words = text.split()
        asked = question_block(written.question, written.options, form)
        while True:
            ids = self.scorer.prompt_ids(f"{asked}\nRationale: {' '.join(words)}{_CLOSING}")
            if (over := len(ids) - self.settings.max_prompt_tokens) <= 0:
                return ids
            if not words:
                return None
            words = words[over:]  # a word is a token at least
