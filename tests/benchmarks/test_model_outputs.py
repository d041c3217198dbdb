"""What models really write: by the teachers and students of the papers, small students, and chat models.

Each row is a text, and what is read from it; None where a text gives no answer, and so counts as wrong.
"""

from __future__ import annotations

import gzip
import json

import pytest

from kard_ray.benchmarks.answers import read_answer
from kard_ray.benchmarks.question import Question
from kard_ray.benchmarks.reading import parse_answer

FOUR = ("a camel", "a lion", "a river", "a boat")
YES_NO = ("yes", "no")
FALLACY = ("valid", "invalid")

LETTERS = [
    # plain conclusions
    ("Camels store fat in their humps. So the answer is (A).", 0),
    ("Camels store fat.\nTherefore, the answer is (B).", 1),
    ("Therefore, the correct answer is (B) a lion.", 1),
    ("The answer is therefore C", 2),
    ("Hence, the answer is option (D).", 3),
    ("So the answer is option B.", 1),
    ("Answer: B", 1),
    ("**Answer:** B", 1),
    ("**Final Answer**: (C)", 2),
    ("The correct option is **B**.", 1),
    ("Therefore, the best choice is C.", 2),
    ("The answer is b.", 1),
    ("the answer is (c)", 2),
    ("the answer is d) a boat", 3),
    ("The answer should be A because it stores fat.", 0),
    ("The answer to the question is (D), a boat.", 3),
    ("The answer must be C: a river", 2),
    ("The answer is: **B) a lion**", 1),
    ("It eats meat. $\\boxed{B}$", 1),
    ("The final answer is $\\boxed{\\text{C}}$.", 2),
    ("A lion hunts at night.\nB", 1),
    ("A lion hunts at night.\nAnswer B", 1),
    ("(D)", 3),
    ("D.", 3),
    # the text instead of the letter
    ("So the answer is a lion.", 1),
    ("So the answer is a boat that floats.", 3),
    ("a river", 2),
    # every option is discussed, in the style of the published rationales
    (
        "Option (A) is the correct answer because it stores fat. Option (B) is incorrect because it is not.",
        0,
    ),
    ("It needs water. Therefore, option (C) is correct. Options (A), (B) and (D) are incorrect.", 2),
    ("(B) is incorrect because it eats meat. (A) is incorrect too. Therefore, the answer is (C).", 2),
    ("Option (A) is incorrect because a camel walks. Option (B) is incorrect because a lion runs.", None),
    ("(B) is incorrect because a lion eats meat.", None),
    ("A camel can walk for days without water, and a lion cannot, which is why people ride on camels.", None),
    ("Let's look at each option. (A) is an animal. (B) is an animal. (C) is not.", None),
    # a reason that names other options
    ("So the answer is (B) because (A) does not eat meat.", 1),
    ("The answer is (B), not (A).", 1),
    ("The answer is (C) rather than (D).", 2),
    # denials and several letters
    ("The answer is not A.", None),
    ("The answer is not (A). It could be (B).", None),
    ("The answer is definitely not (B).", None),
    ("The answer is unlikely to be (B).", None),
    ("The answer isn't B", None),
    ("The answer is neither (A) nor (B).", None),
    ("So the answer is (A) or (B).", None),
    ("So the answer is A or B", None),
    ("The answer is A, B and C.", None),
    ("So the answer is A/B.", None),
    ("So the answer is (A), (B), (C), (D).", None),
    ("I would eliminate (A) and (B).", None),
    ("So the answer is (F).", None),
    ("I am not sure which option is right.", None),
    # repetition, truncation, and a student that goes on with a question of its own
    ("So the answer is (B). So the answer is (B). So the answer is", 1),
    ("So the answer is (A). No, wait. So the answer is (B).", 1),
    ("Camels store fat in their humps, and so they can walk for", None),
    ("Camels store fat. So the answer is", None),
    ("So the answer is (B).\n\nQuestion: Which floats?\nAnswer: (D)", 1),
    ("So the answer is (B).\n\nQ: Which floats?\nA: The answer is (D).", 1),
    ("camel camel camel camel camel camel camel camel camel camel camel camel camel camel", None),
]

# (text, what is read) for the options yes and no, as text
YES_OR_NO = [
    ("Yes, a camel can do so.", 0),
    ("Yes. There is no reason why not.", 0),
    ("No, because a river does not drink.\nA camel does, and yes, it drinks a lot.", 1),
    ("**No**, it is not possible.", 1),
    ("Yes", 0),
    ("no.", 1),
    ("So the answer is yes, there is no doubt.", 0),
    ("So the answer is no.", 1),
    ('Therefore, the answer is "no".', 1),
    ("Therefore, the correct answer is (B) no.", 1),
    ("The answer to the question would be yes, it drinks.", 0),
    ("Camels drink.\nThus, yes, they would survive there.", 0),
    ("So the answer is yes and no.", None),
    ("It is hard to say.", None),
    ("There is no water in the desert, but yes, camels live there and they drink when they find some.", None),
    ("Yesterday there was a camel.", None),
    (
        "Norway has no camels, they would not like it there, and nobody has ever brought one that far north.",
        None,
    ),
    ("So the answer is not known.", None),
]

FALLACIES = [
    ("So the answer is invalid.", 1),
    ("The first premise says so.\nTherefore, the argument is deductively valid.", 0),
    ("The argument is invalid.", 1),
    ("Therefore, the argument is not valid.", None),
    ("Valid.", 0),
    ("Invalid: the second premise does not follow.", 1),
    (
        "An argument is valid when it is not invalid, and we have to look at each premise in turn before we tell.",
        None,
    ),
]

# (text, gold, whether it is right), or None as the verdict where nothing can be read
NUMBERS = [
    ("She has 3 + 4 = 7 apples. So the answer is 7.", "7", True),
    ("The answer is $1,200.", "1200", True),
    ("The answer is 7 apples.", "7", True),
    ("The final answer is \\boxed{42}.", "42", True),
    ("6 * 7 makes $\\boxed{42}$", "42", True),
    ("So the answer is 42%.", "42", True),
    ("So the answer is 0.50", "1/2", True),
    ("So the answer is 1/2 of the cake.", "0.5", True),
    ("So the answer is \\frac{1}{3}.", "1/3", True),
    ("So the answer is 2 1/2 cups.", "2.5", True),
    ("So the answer is -3.", "-3", True),
    ("They drove 60 miles.\n#### 60", "60", True),
    ("He paid 12 dollars and 3 more, 15 in all", "15", True),
    ("So the answer is 15.\n\nQuestion: What are 3 and 9?\nSo the answer is 12.", "15", True),
    ("So the answer is 15. So the answer is 15. So the answer is", "15", True),
    ("So the answer is 1/3.", "3", False),
    ("So the answer is 16.", "15", False),
    ("So the answer is not 15.", "15", None),
    ("There are 15 boxes, but the price of a box is not given. It cannot be determined.", "15", None),
    ("I do not know", "15", None),
    ("So the answer is unknown, as 3 boxes are missing.", "3", None),
    ("So the answer is 15, since it is not possible to fill more.", "15", True),
    ("He has 15 boxes, but how many are full is not given.", "15", None),
    # GSM-Plus, critical thinking: the question cannot be answered, and right is to say so
    ("We do not know how many red cars there are. So the answer is None.", "None", True),
    ("So the answer cannot be determined.", "None", True),
    ("There are 3 green cars. The problem does not provide enough information.", "None", True),
    ("It is 3 + 4 = 7. So the answer is 7.", "None", False),
    ("So the answer is 7, as none are left.", "None", False),
]

TEXTS = [
    ("So the answer is apple bread.", "apple bread", True),
    ("So the answer is: apple, bread", "apple bread", True),
    ("b comes last. So the answer is bread apple.", "apple bread", False),
    ("So the answer is ] ) }.", "] ) }", True),
    ("We still have to close ] ) }", "] ) }", None),
    ("So the answer is $(3, 4]$.", "(3,4]", False),  # spaces tell words apart
    ("So the answer is $\\dfrac{\\pi}{2}$.", "\\frac{\\pi}{2}", True),
    ("So the answer is \\boxed{72 + 72\\sqrt{2}}.", "72+72\\sqrt{2}", True),
]


@pytest.mark.parametrize(("text", "answer"), LETTERS)
def test_a_letter_is_read_only_where_the_text_gives_it_as_the_answer(text, answer):
    assert parse_answer(text, FOUR, "letter") == answer


@pytest.mark.parametrize(("text", "answer"), YES_OR_NO)
def test_yes_or_no_is_read_where_it_is_concluded_or_leads(text, answer):
    assert parse_answer(text, YES_NO, "text") == answer


@pytest.mark.parametrize(("text", "answer"), FALLACIES)
def test_valid_or_invalid_is_read_from_the_conclusion(text, answer):
    assert parse_answer(text, FALLACY, "text") == answer


@pytest.mark.parametrize(("text", "gold", "verdict"), NUMBERS + TEXTS)
def test_an_open_answer_is_right_wrong_or_unreadable(text, gold, verdict):
    answer = read_answer(text, Question(question_id="q", split="test", question="?", gold=gold), "text")
    assert (None if answer is None else answer.correct) is verdict


@pytest.mark.parametrize(
    ("kind", "right", "wrong"), [("openbookqa", 0.22, 0.005), ("strategyqa", 0.88, 0.025)]
)
def test_published_rationales_that_conclude_are_read_as_they_conclude(public_data, kind, right, wrong):
    """They were written knowing the answer, so another one read from them is nearly always a misreading.

    Most of OpenBookQA's discuss the options and conclude nothing.
    """
    folder = public_data / kind
    if not folder.is_dir():
        pytest.skip(f"no {kind} in {public_data}")
    rows = {row["id"]: row for row in map(json.loads, (folder / "train.json").open(encoding="utf-8"))}
    read = {True: 0, False: 0, None: 0}
    with gzip.open(folder / "teacher_rationales_train.jsonl.gz", "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number % 20:
                continue
            written = json.loads(line)
            row = rows[written["id"]]
            options = [row[f"ending{i}"] for i in range(4) if row[f"ending{i}"]]
            for text in written["rationales"]:
                answer = parse_answer(text, options, "letter")
                read[None if answer is None else answer == row["label"]] += 1
    total = sum(read.values())
    assert read[True] / total > right
    assert read[False] / total < wrong
