"""All student methods by name; a new one is a new file and one line here."""

from __future__ import annotations

from typing import Literal

from kard_ray.student.methods.base import Method
from kard_ray.student.methods.finetune import Finetune
from kard_ray.student.methods.kard import Kard
from kard_ray.student.methods.knowledge_finetune import KnowledgeFinetune
from kard_ray.student.methods.mt_cot import MtCot
from kard_ray.student.methods.std_cot import StdCot
from kard_ray.student.methods.step_by_step import StepByStep

MethodName = Literal["finetune", "knowledge_finetune", "std_cot", "mt_cot", "step_by_step", "kard"]

METHODS: dict[MethodName, Method] = {
    "finetune": Finetune(),
    "knowledge_finetune": KnowledgeFinetune(),
    "std_cot": StdCot(),
    "mt_cot": MtCot(),
    "step_by_step": StepByStep(),
    "kard": Kard(),
}
