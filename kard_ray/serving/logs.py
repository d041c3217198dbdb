"""One line of JSON per request and part, with the request's id; a user's text only when that is configured."""

from __future__ import annotations

import logging
from typing import Any

# Serve's own logger: its lines carry the request's id, the deployment and the replica through all parts.
logger = logging.getLogger("ray.serve")


def told(message: str, **fields: Any) -> None:
    """Log ``message``, a few fixed words, with ``fields``: numbers, names, ids and versions."""
    logger.info(message, extra={"kard_ray": fields})
