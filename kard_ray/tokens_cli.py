"""``kard-ray tokens``: who may use the online service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

tokens_app = typer.Typer(
    help="Who may use the online service: tokens, of which only the hash is kept.", no_args_is_help=True
)

Target = Annotated[
    Path, typer.Argument(metavar="RUN_DIR", help="Run directory that is served, or a file of tokens (.json).")
]


def _file(target: Path) -> str:
    return str(target if target.suffix == ".json" else target / "tokens.json")


@tokens_app.command()
def add(
    target: Target,
    name: Annotated[str, typer.Argument(help="Whose token it is; it stands in the logs.")],
    days: Annotated[
        float | None, typer.Option("--days", min=0, help="Days until it expires; default: never.")
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option("--per-minute", min=1, help="Requests a minute; default: the service's.")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option("--at-once", min=1, help="Requests at once; default: the service's.")
    ] = None,
) -> None:
    """Make a token and print it, this once."""
    from kard_ray.serving.tokens import add_token

    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    print(add_token(_file(target), name, expires=expires, requests_per_minute=per_minute, at_once=at_once))


@tokens_app.command()
def remove(target: Target, name: Annotated[str, typer.Argument(help="Whose token.")]) -> None:
    """Take a token back; running services refuse it within seconds."""
    from kard_ray.serving.tokens import remove_token

    remove_token(_file(target), name)


@tokens_app.command("list")
def list_(target: Target) -> None:
    """Whose tokens there are."""
    from kard_ray.serving.tokens import read_tokens

    for token in read_tokens(_file(target)):
        until = f", until {token.expires:%Y-%m-%d %H:%M}" if token.expires else ""
        print(f"{token.name}: made {token.created}{until}")
