"""Who may ask: bearer tokens of 256 random bits, of which only the SHA-256 is kept.

A token of that much entropy cannot be guessed from its hash, so no slow password hash is needed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

PREFIX = "kr_"
_LOOK_SECONDS = 1.0  # between two looks at the file
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"


class Token(Frozen):
    """What is kept of one token."""

    name: str = Field(pattern=_NAME)  # whose it is; stands in logs
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str  # UTC, ISO 8601
    expires: datetime | None = None  # null: never
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None  # null: as the service is configured
    at_once: Annotated[int, Field(ge=1)] | None = None


_TOKENS = TypeAdapter(tuple[Token, ...])


def digest(token: str) -> str:
    """SHA-256 of ``token``, in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def add_token(
    path: str, name: str, *, expires: datetime | None = None, requests_per_minute: int | None = None,
    at_once: int | None = None,
) -> str:  # fmt: skip
    """Make a token for ``name`` and keep its hash in the file ``path``; returns the token, which is nowhere else.

    Raises UserError when the name is taken or cannot be one.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    try:
        made = Token(
            name=name,
            sha256=digest(token),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            expires=expires,
            requests_per_minute=requests_per_minute,
            at_once=at_once,
        )
    except ValidationError as error:
        detail = error.errors()[0]
        field = ".".join(str(part) for part in detail["loc"])
        raise UserError(f"token {field}: got {detail['input']!r}, but {detail['msg']}.") from None
    with _locked(path):
        known = read_tokens(path) if os.path.exists(path) else ()
        if any(other.name == name for other in known):
            raise UserError(
                f"token {name}: {path} has one of this name; remove it first, or choose another name."
            )
        _write(path, [*known, made])
    return token


def remove_token(path: str, name: str) -> None:
    """Forget the token of ``name``; running services refuse it within seconds. Raises UserError when there is none."""
    with _locked(path):
        known = read_tokens(path)
        kept = [token for token in known if token.name != name]
        if len(kept) == len(known):
            raise UserError(
                f"token {name}: {path} has {', '.join(t.name for t in known) or 'none'}; there is no such."
            )
        _write(path, kept)


def read_tokens(path: str) -> tuple[Token, ...]:
    """The tokens of a file. Raises UserError when it cannot be read."""
    try:
        return _TOKENS.validate_json(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{path}: there are no tokens; make one with kard-ray tokens add RUN_DIR NAME, or use --no-auth."
        ) from None
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path}: the tokens cannot be read ({type(error).__name__}); mend the file or make new ones."
        ) from error


def _locked(path: str) -> FileLock:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: the folder cannot be made ({error.strerror}).") from error
    return FileLock(f"{path}.lock")


def _write(path: str, tokens: Sequence[Token]) -> None:
    """Whole or not at all, and readable for its owner alone."""
    text = json.dumps([token.model_dump(mode="json") for token in tokens], indent=2) + "\n"
    descriptor, part = tempfile.mkstemp(dir=Path(path).parent)  # mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as sink:
        sink.write(text)
    os.replace(part, path)


class TokenFile:
    """The tokens of a file, looked at again when it changes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._state: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._looked = -_LOOK_SECONDS
        self._look()

    def find(self, token: str) -> Token | None:
        """The entry of ``token``, unless it has expired.

        Compares with every entry in constant time, so that the time tells nothing of a hash.
        """
        self._look()
        given, found = digest(token), None
        for known in self._tokens:
            if hmac.compare_digest(known.sha256, given):
                found = known
        if found is not None and found.expires is not None and found.expires <= datetime.now(UTC):
            return None
        return found

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        try:
            known = os.stat(self.path)
            state = (known.st_ctime_ns, known.st_size, known.st_ino)
            if state == self._state:
                return
            if stat.S_IMODE(known.st_mode) & 0o022:
                raise UserError(f"{self.path}: others than its owner may write to it; set its mode to 0600.")
            self._tokens, self._state = read_tokens(self.path), state
        except (OSError, UserError):
            # A file that is gone or damaged lets nobody in; what it said before may have been revoked since.
            self._tokens, self._state = (), None


def credentials(header: str | None) -> tuple[str, bool] | None:
    """(token, whether a browser sent it) of an Authorization header: ``Bearer``, or ``Basic`` with it as password."""
    scheme, _, value = (header or "").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value, False
    if scheme.lower() == "basic":
        try:
            _, colon, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (password, True) if colon and password else None
    return None
