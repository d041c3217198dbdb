"""Latency beside a direct call, and throughput beside ``vllm serve``: the same questions, prompts and sampling.

Systems take turns, each started anew for its turn, so that none finds another one's prompts in its cache, and what
drifts on the machine drifts for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from serving_parts.direct import Direct, ask_directly, bodies_of, plan_of
from serving_parts.figures import goal, percentile, say, steady_rates
from serving_parts.load import Asked, Sent, answer_request, send
from serving_parts.service import Service, VllmServer

OVERHEAD_MS, FIRST_TOKEN_MS, SHARE, AT_ONCE = 20.0, 30.0, 0.9, 16
_WARM = 5
_LIMIT_SECONDS = 1800.0  # of one turn at most


def latency(
    run_dir: str, folder: Path, *, overrides: Sequence[str], seed: int, questions: int, rounds: int,
    streams: Sequence[bool],
) -> None:  # fmt: skip
    """Questions one after the other; ``streams``: whether they are asked whole, streaming, or both."""
    bodies = bodies_of(run_dir, seed)
    count = min(questions, len(bodies) // 2 - _WARM)
    direct: dict[bool, list[list[Direct]]] = {stream: [] for stream in streams}
    served: dict[bool, list[list[Sent]]] = {stream: [] for stream in streams}
    for turn in range(rounds):
        say(f"latency, round {turn + 1} of {rounds}")
        chosen = {stream: bodies[stream * (count + _WARM) :][: count + _WARM] for stream in streams}
        for stream in streams:
            direct[stream].append(ask_directly(run_dir, overrides, chosen[stream], stream=stream, warm=_WARM))
        with Service(run_dir, folder, overrides) as service:
            for stream in streams:
                asked = [
                    answer_request(str(at), body, stream=stream) for at, body in enumerate(chosen[stream])
                ]
                sent = send(
                    service.base,
                    service.token,
                    asked,
                    concurrency=1,
                    count=len(asked),
                    seconds=_LIMIT_SECONDS,
                )
                served[stream].append(sorted(sent, key=lambda one: int(one.name))[_WARM:])
    for stream in streams:
        (_tell_stream if stream else _tell_overhead)(direct[stream], served[stream])


def _tell_overhead(direct: Sequence[Sequence[Direct]], served: Sequence[Sequence[Sent]]) -> None:
    ours, theirs = [one for turn in served for one in turn], [one for turn in direct for one in turn]
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.good]
    print(f"\n## Overhead: {len(ours)} questions one after the other in {len(served)} rounds\n")
    print("| | p50, ms | p95, ms | mean, ms |\n|---|---:|---:|---:|")
    for name, values in (
        ("`/v1/answer`", [a.seconds for a, _ in pairs]),
        ("the same in one process", [b.seconds for _, b in pairs]),
        ("of that, search", [b.search for _, b in pairs]),
        ("of that, the engine's calls", [b.engine for _, b in pairs]),
        ("`/v1/answer`, as it tells: total", [a.stages["total"] / 1000 for a, _ in pairs]),
        ("of that, retrieve", [a.stages["retrieve"] / 1000 for a, _ in pairs]),
        ("of that, generate", [a.stages["generate"] / 1000 for a, _ in pairs]),
    ):
        shown = [1000 * figure for figure in (percentile(values, 50), percentile(values, 95), fmean(values))]
        print(f"| {name} | " + " | ".join(f"{figure:,.1f}" for figure in shown) + " |")
    overhead = {
        q: _between([a.seconds for a, _ in pairs], [b.seconds for _, b in pairs], q) for q in (50, 95)
    }
    bare = _between([a.seconds for a, _ in pairs], [b.search + b.engine for _, b in pairs], 50)
    alike = [a.seconds - b.seconds for a, b in pairs if a.text == b.text]
    print(
        f"\np50 minus p50: {overhead[50]:.1f} ms ({goal(overhead[50], OVERHEAD_MS, 'ms')}); p95 minus p95: "
        f"{overhead[95]:.1f} ms; p50 minus that of search and engine alone: {bare:.1f} ms"
    )
    for turn, (a, b) in enumerate(zip(served, direct, strict=True), start=1):
        print(
            f"round {turn}: {_between([x.seconds for x in a if x.good], [x.seconds for x in b], 50):.1f} ms"
        )
    if alike:
        print(f"median difference of the same question with the same text: {1000 * median(alike):.1f} ms")
    _tell_sameness(ours, theirs)


def _tell_stream(direct: Sequence[Sequence[Direct]], served: Sequence[Sequence[Sent]]) -> None:
    ours, theirs = [one for turn in served for one in turn], [one for turn in direct for one in turn]
    first = [one.first for one in ours if one.good and one.first is not None]
    engine = [one.engine_first for one in theirs if one.engine_first is not None]
    whole = [one.first for one in theirs if one.first is not None]
    print(f"\n## First streamed token: {len(ours)} questions one after the other in {len(served)} rounds\n")
    print("| | p50, ms | p95, ms |\n|---|---:|---:|")
    for name, values in (
        ("`/v1/answer` with `stream`", first),
        ("the bare engine, from its call", engine),
        ("search, prompt and engine in one process", whole),
    ):
        print(f"| {name} | {1000 * percentile(values, 50):,.1f} | {1000 * percentile(values, 95):,.1f} |")
    later = _between(first, engine, 50)
    print(f"\np50 minus the bare engine's: {later:.1f} ms ({goal(later, FIRST_TOKEN_MS, 'ms')}); ", end="")
    print(f"minus that of one process with the search: {_between(first, whole, 50):.1f} ms")
    _tell_sameness(ours, theirs)


def _between(ours: Sequence[float], theirs: Sequence[float], share: float) -> float:
    """Difference of two percentiles, in milliseconds."""
    return 1000 * (percentile(ours, share) - percentile(theirs, share))


def _tell_sameness(ours: Sequence[Sent], theirs: Sequence[Direct]) -> None:
    pairs = list(zip(ours, theirs, strict=True))
    print(
        f"of {len(pairs)}: {sum(not a.good for a, _ in pairs)} failed, "
        f"{sum(a.prompt_tokens == b.prompt_tokens for a, b in pairs)} have as many prompt tokens, "
        f"{sum(a.text == b.text for a, b in pairs)} the same text, "
        f"{sum(a.answer == b.answer for a, b in pairs)} the same answer",
        flush=True,
    )


def throughput(
    run_dir: str, folder: Path, *, overrides: Sequence[str], seed: int, questions: int, rounds: int
) -> None:
    """Sixteen clients that ask again at once, of the service and of ``vllm serve``."""
    bodies = bodies_of(run_dir, seed)[: questions + AT_ONCE]
    say("throughput: what the engine is asked")
    began = time.monotonic()
    direct = ask_directly(run_dir, overrides, bodies, at_once=AT_ONCE, warm=0)
    say(f"asked directly in {time.monotonic() - began:.0f} s with the engine's start")
    _, engine, card = plan_of(run_dir, overrides)
    wants_log_probs = next(one for one in engine.students if one.name == card.name).log_probs
    systems = ["kard-ray serve", "vllm serve"]
    turns = [systems[:: 1 if turn % 2 else -1] for turn in range(rounds)]
    if wants_log_probs:
        turns[0] = [*turns[0], _WITH_LOG_PROBS]
    rates: dict[str, list[tuple[float, float]]] = {}
    for turn, order in enumerate(turns):
        for system in order:
            say(f"throughput, round {turn + 1} of {rounds}: {system}")
            sent = _turn(system, run_dir, folder, overrides, bodies, direct)
            failed = [one for one in sent if not one.good]
            if failed:
                print(f"{system}: {len(failed)} of {len(sent)} failed, the first with {failed[0].code}")
            rates.setdefault(system, []).append(steady_rates(sent))
    print(
        f"\n## Throughput: {AT_ONCE} clients, {len(bodies) - AT_ONCE} questions in each of {rounds} rounds\n"
    )
    print("| system | requests/s | written tokens/s | by round, requests/s |\n|---|---:|---:|---|")
    means = {}
    for system, figures in rates.items():
        means[system] = (fmean(a for a, _ in figures), fmean(b for _, b in figures))
        shown = ", ".join(f"{a:.2f}" for a, _ in figures)
        print(f"| {system} | {means[system][0]:.2f} | {means[system][1]:.0f} | {shown} |")
    share = [means["kard-ray serve"][i] / means["vllm serve"][i] for i in (0, 1)]
    print(
        f"\nthe service's share: {share[0]:.2f} of the requests/s ({goal(share[0], SHARE, 'x', at_most=False)}), "
        f"{share[1]:.2f} of the tokens/s",
        flush=True,
    )


_WITH_LOG_PROBS = "vllm serve, with log-probabilities as the service asks for"


def _turn(
    system: str, run_dir: str, folder: Path, overrides: Sequence[str], bodies: Sequence[dict[str, object]],
    direct: Sequence[Direct],
) -> list[Sent]:  # fmt: skip
    """All questions, the first sixteen as a warm-up."""
    if system == "kard-ray serve":
        with Service(run_dir, folder, overrides) as service:
            return _send_warm(
                service.base, service.token, [answer_request(str(i), b) for i, b in enumerate(bodies)]
            )
    with VllmServer(run_dir, folder, overrides) as server:

        def completion(body: dict[str, object]) -> dict[str, object]:
            more = {"logprobs": 0} if system == _WITH_LOG_PROBS and "prompt_logprobs" not in body else {}
            return {**body, "model": server.model, **more}

        asked = [
            Asked(
                name=one.name,
                path="/v1/completions",
                rounds=[[completion(body) for body in together] for together in one.rounds],
            )
            for one in direct
        ]
        return _send_warm(server.base, "", asked)


def _send_warm(base: str, token: str, asked: Sequence[Asked]) -> list[Sent]:
    warm, rest = asked[:AT_ONCE], asked[AT_ONCE:]
    send(base, token, warm, concurrency=AT_ONCE, count=len(warm), seconds=_LIMIT_SECONDS)
    return send(base, token, rest, concurrency=AT_ONCE, count=len(rest), seconds=_LIMIT_SECONDS)
