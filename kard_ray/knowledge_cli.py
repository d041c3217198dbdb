"""``kard-ray knowledge``: build a knowledge base, and look after it. ``kard-ray knowledge RECIPE`` builds."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from kard_ray.knowledge.retrieval import Mode

RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).")]
Target = Annotated[
    str, typer.Argument(metavar="RUN_DIR", help="A run directory with a knowledge base, or its folder.")
]
RunDir = Annotated[
    str | None, typer.Option("--run-dir", help="Where artifacts go; default: runs/<name of the recipe>.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: knowledge.workers=4. May be repeated.")
]


class _BuildByDefault(TyperGroup):
    """``knowledge RECIPE`` is ``knowledge build RECIPE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["build", *args]
        return super().parse_args(ctx, args)


knowledge_app = typer.Typer(
    cls=_BuildByDefault,
    no_args_is_help=True,
    help="The knowledge base: build (knowledge RECIPE), update, versions, compact, cleanup, search.",
)


@knowledge_app.command()
def build(
    recipe: RecipePath,
    run_dir: RunDir = None,
    set_: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
) -> None:
    """Read, cut, deduplicate, embed and index the corpus of a recipe."""
    from kard_ray.execution import run_stages

    run_stages(recipe, ("knowledge",), run_dir=run_dir, overrides=set_ or (), dry_run=dry_run)


@knowledge_app.command()
def update(
    recipe: RecipePath,
    run_dir: RunDir = None,
    set_: Overrides = None,
    delete: Annotated[list[str] | None, typer.Option("--delete", help="Id of a document to remove.")] = None,
    delete_file: Annotated[
        Path | None,
        typer.Option("--delete-file", exists=True, dir_okay=False, help="Ids to remove, one a line."),
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Also remove every document that the corpus no longer has.")
    ] = False,
    no_corpus: Annotated[
        bool, typer.Option("--no-corpus", help="Only remove; do not read the corpus.")
    ] = False,
) -> None:
    """Add and replace the recipe's documents by id, as a new version; unchanged passages are not embedded again."""
    from kard_ray.upkeep import update as run_update

    lines = delete_file.read_text(encoding="utf-8").splitlines() if delete_file is not None else []
    run_update(
        recipe,
        run_dir=run_dir,
        overrides=set_ or (),
        delete={*(delete or ()), *(line.strip() for line in lines if line.strip())},
        mirror=mirror,
        read_corpus=not no_corpus,
    )


@knowledge_app.command()
def versions(target: Target) -> None:
    """List the versions of a knowledge base."""
    from kard_ray.upkeep import show_versions

    show_versions(target)


@knowledge_app.command()
def compact(
    target: Target, workers: Annotated[int, typer.Option("--workers", min=1, help="Processes for BM25.")] = 2
) -> None:
    """Merge small files and renew the indexes; earlier versions stay readable."""
    from kard_ray.upkeep import compact as run_compact

    run_compact(target, workers=workers)


@knowledge_app.command()
def cleanup(
    target: Target,
    older_than_days: Annotated[
        float, typer.Option("--older-than-days", min=0, help="Age of untagged versions that go.")
    ] = 7.0,
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Tag of a version to give up.")] = None,
) -> None:
    """Delete what no tagged version needs."""
    from kard_ray.upkeep import clean_up

    clean_up(target, older_than_days=older_than_days, drop=drop or ())


@knowledge_app.command()
def search(
    target: Target,
    query: Annotated[str, typer.Argument(help="Any text.")],
    k: Annotated[int, typer.Option("--k", min=1, max=1000)] = 5,
    mode: Annotated[str, typer.Option("--mode", help="bm25, vector or hybrid.")] = "bm25",
    version: Annotated[str | None, typer.Option("--version", help="Tag or number of a version.")] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Only passages of this source.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="Only this language (en, de, ...).")
    ] = None,
    date_from: Annotated[datetime.datetime | None, typer.Option("--date-from", formats=["%Y-%m-%d"])] = None,
    date_to: Annotated[datetime.datetime | None, typer.Option("--date-to", formats=["%Y-%m-%d"])] = None,
) -> None:
    """Print the passages that a query finds."""
    from kard_ray.knowledge.filters import PassageFilter
    from kard_ray.upkeep import search as run_search

    chosen = PassageFilter(
        source=tuple(source or ()),
        language=tuple(language or ()),
        date_from=date_from.date() if date_from else None,
        date_to=date_to.date() if date_to else None,
    )
    run_search(target, query, k=k, mode=cast("Mode", mode), version=version, chosen=chosen)
