"""All student methods by name; a new one is a new file and one line here."""

from __future__ import annotations

from typing import Literal

from kard_ray.student.methods.base import Method
from kard_ray.student.methods.cascod import CasCod
from kard_ray.student.methods.finetune import Finetune
from kard_ray.student.methods.kard import Kard
from kard_ray.student.methods.kard_intern import KardIntern
from kard_ray.student.methods.knowledge_finetune import KnowledgeFinetune
from kard_ray.student.methods.mt_cot import MtCot
from kard_ray.student.methods.prompted import SHOTS, prompted
from kard_ray.student.methods.silver_finetune import SilverFinetune
from kard_ray.student.methods.skintern import SkIntern
from kard_ray.student.methods.std_cot import StdCot
from kard_ray.student.methods.step_by_step import StepByStep

MethodName = Literal[
    "finetune",
    "knowledge_finetune",
    "silver_finetune",
    "std_cot",
    "mt_cot",
    "step_by_step",
    "cascod",
    "kard",
    "skintern",
    "kard_intern",
    "zero_shot",
    "zero_shot_cot",
    "few_shot",
    "few_shot_cot",
    "zero_shot_knowledge",
    "zero_shot_cot_knowledge",
    "few_shot_knowledge",
    "few_shot_cot_knowledge",
]

METHODS: dict[MethodName, Method] = {
    "finetune": Finetune(),
    "knowledge_finetune": KnowledgeFinetune(),
    "silver_finetune": SilverFinetune(),
    "std_cot": StdCot(),
    "mt_cot": MtCot(),
    "step_by_step": StepByStep(),
    "cascod": CasCod(),
    "kard": Kard(),
    "skintern": SkIntern(),
    "kard_intern": KardIntern(),
    "zero_shot": prompted("zero_shot"),
    "zero_shot_cot": prompted("zero_shot_cot", steps=True),
    "few_shot": prompted("few_shot", shots=SHOTS),
    "few_shot_cot": prompted("few_shot_cot", shots=SHOTS, steps=True),
    "zero_shot_knowledge": prompted("zero_shot_knowledge", knowledge=True),
    "zero_shot_cot_knowledge": prompted("zero_shot_cot_knowledge", steps=True, knowledge=True),
    "few_shot_knowledge": prompted("few_shot_knowledge", shots=SHOTS, knowledge=True),
    "few_shot_cot_knowledge": prompted("few_shot_cot_knowledge", shots=SHOTS, steps=True, knowledge=True),
}
