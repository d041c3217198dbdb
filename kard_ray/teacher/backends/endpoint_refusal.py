"""What an HTTP status other than 200 means: a mistake in the recipe, a row that cannot be, or try again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from kard_ray.teacher.backends.endpoint_key import redacted
from kard_ray.teacher.backends.endpoint_reply import error_text, excerpt

if TYPE_CHECKING:
    from kard_ray.teacher.backends.endpoint import EndpointConfig

# Every request would fail alike: wrong address, key, model or account. 3xx: the key follows no redirect.
_FATAL_STATUSES = frozenset({300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405})
_FATAL_CODES = frozenset({"model_not_found", "insufficient_quota", "invalid_api_key"})
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})  # and all from 500
_QUIET_STATUSES = frozenset({429, 503})


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """One reply with an error status."""

    status: int
    code: str  # OpenAI's, such as "model_not_found"; empty when the server gave none
    problem: str  # "HTTP 500: what the server said"
    fatal: bool  # every request would fail alike
    again: bool  # the same request may succeed later
    quiet: bool  # its Retry-After holds for all requests


def read_refusal(status: int, body: str, key: SecretStr | None) -> Refusal:
    """Read an error; nothing that is kept of it shows ``key``."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        tree = body
    said = excerpt(redacted(error_text(tree), key)).strip('"')
    code = _code(tree)
    return Refusal(
        status=status,
        code=code,
        problem=f"HTTP {status}: {said}" if said else f"HTTP {status}",
        fatal=status in _FATAL_STATUSES or code in _FATAL_CODES,
        again=status in _RETRIED_STATUSES or status >= 500,
        quiet=status in _QUIET_STATUSES,
    )


def _code(tree: Any) -> str:
    """The error's ``code``, or its ``type`` where the code is a number (vLLM) or missing."""
    if not isinstance(tree, dict):
        return ""
    error = tree.get("error")
    found = error if isinstance(error, dict) else tree
    return next((found[name] for name in ("code", "type") if isinstance(found.get(name), str)), "")


def mistake(refusal: Refusal, config: EndpointConfig, model: str, *, has_key: bool) -> str:
    """The sentences of the UserError for a fatal refusal: what was found, and which field to mend."""
    where = f"The endpoint teacher.backend.url {config.url} answered {refusal.problem.rstrip('.')}."
    if config.key_file is not None:
        source = f"the file of teacher.backend.key_file, {config.key_file}"
    elif config.key_env is not None:
        source = f"the environment variable of teacher.backend.key_env, {config.key_env}"
    else:
        source = "teacher.backend.key_file or key_env, which name none now"
    if refusal.code == "insufficient_quota" or refusal.status == 402:
        return f"{where} The account has no credit left; charge it, or put another key in {source}."
    if refusal.code == "invalid_api_key" or refusal.status in (401, 403):
        found = "the key" if has_key else "a request without a key"
        return f"{where} It refuses {found} for teacher.model {model!r}; put a valid key in {source}."
    if refusal.status < 400:
        return f"{where} It sends requests elsewhere; put the final address into teacher.backend.url."
    return f"{where} The address is wrong (it usually ends in /v1), or it serves no teacher.model {model!r}."
