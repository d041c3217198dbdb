"""The key of an endpoint: read from a file or the environment, and kept out of every text that is shown or stored."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import stat
from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from kard_ray.runtime.errors import UserError

logger = logging.getLogger(__name__)

_HIDDEN = "[key]"
_SECRET = 16  # characters; keys of services have twice as many
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s\"',;}<]+")


def is_loopback(url: str) -> bool:
    """True when ``url`` names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def read_key(*, url: str, key_env: str | None, key_file: str | None) -> SecretStr | None:
    """The key: from ``key_file`` when given, else from the environment variable ``key_env``.

    None when neither is named, or when the variable is unset and ``url`` is on this machine. Raises UserError, which
    never holds any part of the key, when the key is missing, empty, or no key.
    """
    if key_file is not None:
        key, source = _from_file(key_file), f"teacher.backend.key_file {key_file}"
    elif key_env is not None:
        key, source = os.environ.get(key_env, "").strip(), f"the environment variable {key_env}"
        if not key and is_loopback(url):
            return None
        if not key:
            raise UserError(
                f"recipe field teacher.backend.key_env: {source} is not set, and {url} needs a key; set it, name a "
                "file in teacher.backend.key_file, or set key_env to null when the endpoint needs no key."
            )
    else:
        return None
    # Anything else in a header ends in an error of the HTTP library that shows the header.
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(
            f"{source} does not hold an API key: expected one word of printable ASCII characters."
        )
    if url.startswith("http:") and not is_loopback(url):
        logger.warning(
            "The key from %s goes to %s unencrypted; use https if the network is not yours.", source, url
        )
    return SecretStr(key)


def _from_file(name: str) -> str:
    path = Path(name).expanduser()
    try:
        key = path.read_text(encoding="utf-8").strip()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(
            f"recipe field teacher.backend.key_file: {name} does not exist; write the key there."
        ) from None
    except UnicodeDecodeError:
        # Not chained: the error of the decoder holds the file's bytes.
        key, mode = "\0", 0
    except OSError as error:
        raise UserError(
            f"recipe field teacher.backend.key_file: {name} cannot be read: {error.strerror}."
        ) from None
    if not key:
        raise UserError(f"recipe field teacher.backend.key_file: {name} is empty; write the key there.")
    if mode & stat.S_IROTH:
        # Not refused: secrets that Kubernetes mounts are readable by all inside the container.
        logger.warning("Every user of this machine can read the key in %s; run: chmod 600 %s", name, name)
    return key


def redacted(text: str, key: SecretStr | None) -> str:
    """``text`` without the key, however a server wrote it, and without any other bearer token."""
    for form in _forms(key):
        text = text.replace(form, _HIDDEN)
    return _BEARER.sub(rf"\g<1>{_HIDDEN}", text)


def holds_key(text: str, key: SecretStr | None) -> bool:
    """True when ``text`` quotes the key; a short one ("EMPTY") is a word and no secret."""
    return any(len(form) >= _SECRET and form in text for form in _forms(key))


def _forms(key: SecretStr | None) -> set[str]:
    if key is None:
        return set()
    secret = key.get_secret_value()
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], secret.replace("/", "\\/")}
