"""Who writes rationales, with what prompt, how many, and which are kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kard_ray.knowledge.retrieval import Mode
from kard_ray.runtime.config import Frozen, Seed
from kard_ray.runtime.engine import EngineConfig, SamplingConfig
from kard_ray.teacher.backends.endpoint import EndpointConfig
from kard_ray.teacher.backends.recorded import RecordedConfig
from kard_ray.teacher.backends.vllm import VllmConfig
from kard_ray.teacher.filters.concludes import Concludes
from kard_ray.teacher.filters.registry import FilterSpec
from kard_ray.teacher.prompt import TeacherTemplate

BackendConfig = Annotated[VllmConfig | EndpointConfig | RecordedConfig, Field(discriminator="kind")]
Grounding = Literal["none", "gold"] | Mode


class TeacherConfig(Frozen):
    """Who writes rationales, with what prompt, how many, and which are kept."""

    backend: BackendConfig = VllmConfig()
    model: str = "bundled:smollm2-135m-instruct"  # model reference; an endpoint's name of its model
    samples: int = Field(2, ge=1, le=64)  # l, rationales per training question
    # Per test question, for the silver upper bound; 0: no silver prediction
    test_samples: int = Field(1, ge=0, le=64)
    # Passages shown to the teacher: none, the gold ones (a weak teacher needs them), or what question and answer find.
    grounding: Grounding = "none"
    grounding_passages: int = Field(3, ge=1, le=100)  # how many are shown when they are searched for
    focus_sentences: int = Field(0, ge=0)  # of each shown passage, those that bear on the question; 0: all
    template: TeacherTemplate = "chat"
    structured: bool = False  # ask for JSON with rationale and answer, which the engine then enforces
    # "added": a text without a closing sentence gets the gold one, as KARD does; its filter is then the verifier.
    conclusion: Literal["written", "added"] = "written"
    # Sentences kept of a rationale, those that argue for the right option and weigh no other; 0: all that was written.
    supporting_sentences: int = Field(0, ge=0, le=64)
    sampling: SamplingConfig = SamplingConfig(temperature=0.8, max_tokens=128)
    filters: tuple[FilterSpec, ...] = (FilterSpec(concludes=Concludes()),)
    # Rounds of as many samples more for questions left without a rationale
    retry_empty: int = Field(0, ge=0, le=16)
    retry_temperature: float | None = Field(None, ge=0, le=2)  # of those rounds; null: as before
    max_question_characters: int = Field(20_000, ge=1)  # longer questions, options included, are failures
    engine: EngineConfig = EngineConfig()
    seed: Seed = 42

    @property
    def local_model(self) -> str | None:
        """The model that this cluster loads, if the teacher is not somewhere else."""
        return self.model if isinstance(self.backend, VllmConfig) else None

    def content(self) -> dict[str, Any]:
        """See :class:`Frozen`; of filters without what only says how fast they are."""
        return super().content() | {"filters": [entry.content() for entry in self.filters]}

    def writer(self) -> dict[str, Any]:
        """What decides any text of this teacher but the prompt: not how many, or which rationales are kept."""
        content = self.content()
        return {name: content[name] for name in ("backend", "model", "template", "engine", "seed")}
