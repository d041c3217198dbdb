"""What the service counts and times, through Ray's metrics: one endpoint per node tells of all replicas there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge, Histogram

_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300]
_SERVED = re.compile(r"(?:# (?:HELP|TYPE) )?ray_(?:kard_ray|serve_(?!long_poll|controller))_?")


class Metrics:
    """The instruments of one replica; names get ``ray_`` in front where they are read."""

    def __init__(self) -> None:
        self.requests = Counter(
            "kard_ray_requests_total", "HTTP requests by path and status.", tag_keys=("path", "status")
        )
        self.errors = Counter(
            "kard_ray_errors_total", "Requests that were refused or failed.", tag_keys=("code",)
        )
        self.answers = Counter(
            "kard_ray_answers_total",
            "Questions that were answered.",
            tag_keys=("model", "readable", "cached"),
        )
        self.tokens = Counter("kard_ray_tokens_total", "Tokens of students.", tag_keys=("model", "kind"))
        self.cache = Counter("kard_ray_cache_total", "Looks into the cache.", tag_keys=("found",))
        self.lost = Counter(
            "kard_ray_lost_total",
            "Tries that ended with a lost replica, and were made again.",
            tag_keys=("part",),
        )
        self.shadow = Counter(
            "kard_ray_shadow_total", "Answers of the shadow student.", tag_keys=("model", "outcome")
        )
        self.feedback = Counter("kard_ray_feedback_total", "Verdicts that were kept.", tag_keys=("verdict",))
        self.seconds = Histogram(
            "kard_ray_request_seconds", "From a request to the end of its response.", _SECONDS, ("path",)
        )
        self.stage = Histogram(
            "kard_ray_stage_seconds", "Time of one stage of an answer.", _SECONDS, ("stage",)
        )
        self.first_token = Histogram(
            "kard_ray_first_token_seconds",
            "From a streamed request to its first token.",
            _SECONDS,
            ("model",),
        )
        self.running = Gauge("kard_ray_running", "Questions that are worked on.")
        self.waiting = Gauge("kard_ray_waiting", "Questions in the queue.")


def chosen_lines(text: str) -> Iterable[str]:
    """The lines of Prometheus ``text`` that tell of this service and of its deployments."""
    return (line for line in text.splitlines() if _SERVED.match(line))


async def cluster_metrics() -> str:
    """Prometheus text of all replicas on all nodes, as Ray's agents have it (a few seconds old).

    Agents that do not answer are left out.
    """
    import httpx
    import ray

    nodes = await asyncio.get_running_loop().run_in_executor(None, ray.nodes)
    addresses = [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in nodes
        if node["Alive"] and node.get("MetricsExportPort", 0) > 0
    ]
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        told = await asyncio.gather(*(client.get(url) for url in addresses), return_exceptions=True)
    lines: list[str] = []
    for response in told:
        if isinstance(response, httpx.Response) and response.status_code == httpx.codes.OK:
            lines += chosen_lines(response.text)
        elif isinstance(response, BaseException) and not isinstance(response, httpx.HTTPError):
            raise response
    return _grouped(lines)


def _grouped(lines: Iterable[str]) -> str:
    """One block per metric, with its HELP and TYPE once, as the format asks for."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("#"):
            name = line.split(" ", 3)[2]
            kept = heads.setdefault(name, [])
            if not any(line.split(" ", 2)[1] == other.split(" ", 2)[1] for other in kept):
                kept.append(line)
        else:
            name = _family(line, heads)
            samples.setdefault(name, []).append(line)
    blocks = ["\n".join([*heads.get(name, ()), *rows]) for name, rows in samples.items()]
    return "\n".join(blocks) + "\n" if blocks else ""


def _family(line: str, heads: dict[str, list[str]]) -> str:
    name = re.split(r"[{ ]", line, maxsplit=1)[0]
    for suffix in ("_bucket", "_count", "_sum", "_created"):
        if name.endswith(suffix) and name.removesuffix(suffix) in heads:
            return name.removesuffix(suffix)
    return name
