"""Server-sent events: a name and one line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "text/event-stream"


def event(name: str | None, data: Mapping[str, Any] | str) -> bytes:
    """One event; without a ``name`` it is the default one, as OpenAI's interface has them. JSON has no line breaks."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    lead = f"event: {name}\n" if name else ""
    return f"{lead}data: {text}\n\n".encode()


def schema(*names: str) -> dict[str, Any]:
    """JSON schema of one event for an OpenAPI document; without ``names`` it has none."""
    named: dict[str, Any] = {"event": {"type": "string", "enum": list(names)}} if names else {}
    return {
        "type": "object",
        "properties": {**named, "data": {"type": "string", "description": "One line of JSON."}},
        "required": [*named, "data"],
    }
