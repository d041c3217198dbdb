"""Tokens: made once, kept as hashes, taken back while a service runs."""

from __future__ import annotations

import base64
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.runtime.errors import UserError
from kard_ray.serving import tokens as module
from kard_ray.serving.tokens import TokenFile, add_token, credentials, read_tokens, remove_token


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)  # look at the file each time
    return str(tmp_path / "run" / "tokens.json")


def test_a_token_is_found_until_it_is_taken_back(path: str) -> None:
    anna, ben = add_token(path, "anna"), add_token(path, "ben", requests_per_minute=5)
    known = TokenFile(path)
    found = known.find(ben)
    assert found is not None
    assert (found.name, found.requests_per_minute) == ("ben", 5)
    assert known.find(anna + "x") is known.find("") is known.find("\ud800") is None
    remove_token(path, "ben")
    assert known.find(ben) is None
    assert known.find(anna) is not None


def test_only_hashes_are_kept_and_only_for_the_owner(path: str) -> None:
    token = add_token(path, "anna")
    text = Path(path).read_text()
    assert len(token) >= 40
    assert token not in text
    assert token.removeprefix("kr_") not in text
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_token_expires(path: str) -> None:
    gone = add_token(path, "gone", expires=datetime.now(UTC) - timedelta(seconds=1))
    there = add_token(path, "there", expires=datetime.now(UTC) + timedelta(hours=1))
    known = TokenFile(path)
    assert known.find(gone) is None
    assert known.find(there) is not None


@pytest.mark.parametrize("damage", ["missing", "broken", "writable"])
def test_a_file_that_cannot_be_trusted_lets_nobody_in(path: str, damage: str) -> None:
    token = add_token(path, "anna")
    known = TokenFile(path)
    if damage == "missing":
        os.remove(path)
    elif damage == "broken":
        Path(path).write_text(Path(path).read_text()[:-5])
    else:
        os.chmod(path, 0o666)
    assert known.find(token) is None


def test_names_and_files_are_checked(path: str) -> None:
    with pytest.raises(UserError, match="there are no tokens"):
        read_tokens(path)
    with pytest.raises(UserError, match="token name"):
        add_token(path, "no spaces")
    add_token(path, "anna")
    with pytest.raises(UserError, match="has one of this name"):
        add_token(path, "anna")
    with pytest.raises(UserError, match="there is no such"):
        remove_token(path, "ben")
    Path(path).write_text(json.dumps([{"name": "anna"}]))
    with pytest.raises(UserError, match="cannot be read"):
        read_tokens(path)


def test_headers_of_programs_and_of_browsers() -> None:
    basic = base64.b64encode(b"anyone:kr_x:y").decode()
    assert credentials("Bearer kr_x") == credentials("bearer  kr_x ") == ("kr_x", False)
    assert credentials(f"Basic {basic}") == ("kr_x:y", True)
    for bad in (None, "", "Bearer", "Bearer ", "Basic ???", "Basic eA==", "Digest kr_x", "kr_x"):
        assert credentials(bad) is None


@given(st.text())
def test_any_header_is_read_without_an_error(header: str) -> None:
    found = credentials(header)
    assert found is None or found[0]
