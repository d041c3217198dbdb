from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kard_ray.recipe import Recipe, load_recipe, parse_recipe
from kard_ray.runtime.errors import UserError

SMALL: dict[str, Any] = {
    "benchmark": {"kind": "factbook", "seed": 3},
    "knowledge": {"corpus": {"kind": "factbook"}},
    "student": {"epochs": 2},
}


def written(tmp_path: Path, tree: object = SMALL, name: str = "small.yaml") -> str:
    path = tmp_path / name
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree), encoding="utf-8")
    return str(path)


def refused(path: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    return str(caught.value).splitlines()


def test_a_small_recipe_has_defaults_and_is_named_after_its_file(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path))
    assert recipe.name == "small"
    assert recipe.student.epochs == 2
    assert recipe.student.methods == ("finetune", "std_cot", "kard")
    assert recipe.benchmark.kind == "factbook"


@pytest.mark.parametrize("path", sorted(Path("jobs/recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_with_the_package_are_right(path: Path) -> None:
    assert load_recipe(str(path)).name


def test_a_recipe_survives_a_trip_through_json(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path), ["student.methods=[kard]", "prediction.sources=[bm25]"])
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    assert parse_recipe(recipe.model_dump(mode="json"), where="run.json") == recipe


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("student.epochs=3", lambda r: r.student.epochs == 3),
        ("student.learning_rate=1e-5", lambda r: r.student.learning_rate == 1e-5),
        ("student.rendering.template=chat", lambda r: r.student.rendering.template == "chat"),
        ("student.methods=[kard, finetune]", lambda r: r.student.methods == ("kard", "finetune")),
        ("student.rendering={max_prompt_tokens: 64}", lambda r: r.student.rendering.max_prompt_tokens == 64),
        ("teacher.sampling.stop=['a=b']", lambda r: r.teacher.sampling.stop == ("a=b",)),
        ("questions.train=null", lambda r: r.questions.train is None),
        (" name =other", lambda r: r.name == "other"),
        ("silver.passages=5", lambda r: r.silver.passages == 5),  # a group that the file does not have
    ],
)
def test_any_field_can_be_overridden(tmp_path: Path, override: str, read: Any) -> None:
    assert read(load_recipe(written(tmp_path), [override]))


def test_the_last_override_of_a_field_counts_and_the_file_is_not_changed(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert load_recipe(path, ["student.epochs=3", "student.epochs=4"]).student.epochs == 4
    assert load_recipe(path).student.epochs == 2


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("student.epochs", "FIELD=VALUE"),
        ("=3", "FIELD=VALUE"),
        ("student..epochs=3", "FIELD=VALUE"),
        (".epochs=3", "FIELD=VALUE"),
        ("", "FIELD=VALUE"),
        ("student.epochs=[1", "not YAML"),
        ("student.epochs.deep=3", "epochs is not a group"),
        ("benchmark.kind.x=3", "kind is not a group"),
    ],
)
def test_a_wrong_override_is_told_as_it_was_written(tmp_path: Path, override: str, word: str) -> None:
    (line,) = refused(written(tmp_path), override)
    assert line.startswith(f"--set {override}: ")
    assert word in line


def test_every_mistake_is_told_at_once_one_line_each(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = refused(
        path,
        "student.passages=-1",
        "student.epoch=3",
        "teacher.model=[]",
        "student.methods=[kard, karp]",
        "prediction.split=valid",
        "learning_rate=1",
    )
    fields = [
        "student.passages",
        "student.epoch",
        "teacher.model",
        "student.methods.1",
        "prediction.split",
        "learning_rate",
    ]
    assert len(lines) == len(fields)
    for field in fields:
        (line,) = [line for line in lines if f"field {field}:" in line]
        assert line.startswith(f"recipe {path}, field ")
        assert line.endswith(".")
    assert any("got -1" in line for line in lines)
    assert any("got 'karp'" in line for line in lines)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("benchmark.sed=1", "field benchmark.sed: there is no such field"),
        ("benchmark.train=-1", "field benchmark.train: got -1"),
        ("knowledge.corpus.pat=x", "field knowledge.corpus.pat: there is no such field"),
        ("knowledge.corpus={kind: jsonl}", "field knowledge.corpus.path: it is missing"),
        ("benchmark.kind=squad", "field benchmark: "),
        ("knowledge.corpus={}", "field knowledge.corpus: "),
        ("student=5", "field student: got 5"),
        ("student.rendering.max_prompt_tokens=lots", "field student.rendering.max_prompt_tokens: got 'lots'"),
        ("name=a/b", "field name: got 'a/b'"),
    ],
)
def test_a_field_is_named_as_it_stands_in_the_recipe(tmp_path: Path, override: str, line: str) -> None:
    (found,) = refused(written(tmp_path), override)
    assert line in found


def test_a_missing_group_is_told(tmp_path: Path) -> None:
    lines = refused(written(tmp_path, {"name": "x"}))
    assert [line.partition(", ")[2] for line in lines] == [
        "field knowledge: it is missing and has no default.",
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("student: {epochs: 2", "cannot be read as YAML"),
        ("a: b: c", "cannot be read as YAML"),
        ("\tx: 1", "cannot be read as YAML"),
        ("- student", "expected a mapping of stages, got list"),
        ("just text", "expected a mapping of stages, got str"),
        ("", "expected a mapping of stages, got NoneType"),
        ("!!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_told_in_one_line(tmp_path: Path, text: str, word: str) -> None:
    path = written(tmp_path, text)
    (line,) = refused(path)
    assert line.startswith(f"recipe {path}")
    assert word in line


def test_keys_that_are_no_names_are_told(tmp_path: Path) -> None:
    lines = refused(written(tmp_path, yaml.safe_dump(SMALL) + "1: 2\n"))
    assert len(lines) == 1
    assert "field 1:" in lines[0]


def test_bytes_that_are_no_text_a_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"name: caf\xe9")
    assert "cannot be read as YAML" in refused(str(tmp_path / "bytes.yaml"))[0]
    assert "cannot be read" in refused(str(tmp_path))[0]
    missing = str(tmp_path / "none.yaml")
    assert refused(missing) == [
        f"recipe {missing} does not exist; recipes that come with kard_ray are in jobs/recipes/."
    ]


def test_a_wrong_field_of_the_teachers_backend_is_named_as_the_recipe_writes_it(tmp_path: Path) -> None:
    backend = "teacher.backend={kind: endpoint, url: 'ftp://a', concurrency: 0, key: sk-1}"
    told = refused(written(tmp_path), backend)
    assert {line.split("field ")[1].split(":")[0] for line in told} == {
        "teacher.backend.url",
        "teacher.backend.concurrency",
        "teacher.backend.key",
    }


def test_a_filters_settings_are_checked_and_named(tmp_path: Path) -> None:
    told = refused(written(tmp_path), "teacher.filters=[concludes, {length: {most: 3}}]")
    assert len(told) == 1
    assert "teacher.filters.1.length.most: there is no such field" in told[0]
    assert "there is no filter 'shortness'" in refused(written(tmp_path), "teacher.filters=[shortness]")[0]
