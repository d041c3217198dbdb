"""Long load below capacity, a minute of far too much, and replicas that come and go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from serving_parts.direct import bodies_of
from serving_parts.figures import goal, outcomes, percentile, say, spread, steady_rates
from serving_parts.load import Asked, Load, Sent, answer_request, send
from serving_parts.service import Service

AT_ONCE, SHARE, TOO_MUCH = 16, 0.8, 3.0
FLAT, RECOVERY_SECONDS = 5.0, 10.0  # per cent; seconds
_SETTLE_SECONDS = 60.0  # of load before memory is looked at
_IDLE_REQUESTS, _IN_A_ROW = 15, 3
_ORDINARY = 1.5  # times the idle p50: what still counts as an ordinary latency
_LONGEST_SECONDS = 120.0  # that something is waited for


def load(
    run_dir: str, folder: Path, *, overrides: Sequence[str], seed: int, minutes: float, overload_seconds: float,
    capacity_seconds: float,
) -> None:  # fmt: skip
    """Capacity, then 80 % of it for ``minutes``, then three times as much."""
    asked = [answer_request(str(at), body) for at, body in enumerate(bodies_of(run_dir, seed))]
    with Service(run_dir, folder, overrides) as service:
        ordinary = _ordinary(service, asked[0])
        say("load: capacity")
        full = send(service.base, service.token, asked, concurrency=AT_ONCE, seconds=capacity_seconds)
        capacity, tokens = steady_rates(full)
        print(
            f"\n## Load\n\ncapacity with {AT_ONCE} clients: {capacity:.2f} requests/s, {tokens:.0f} tokens/s"
        )
        print(f"one question at a time, nothing else: p50 {1000 * ordinary:,.0f} ms")
        _long(service, asked, SHARE * capacity, minutes, seed)
        _too_much(service, asked, TOO_MUCH * capacity, overload_seconds, ordinary, seed)


def _ordinary(service: Service, question: Asked) -> float:
    """p50 of one question, asked again and again, in seconds."""
    send(service.base, service.token, [question], concurrency=1, count=3)
    sent = send(service.base, service.token, [question], concurrency=1, count=_IDLE_REQUESTS)
    return percentile([one.seconds for one in sent if one.good], 50)


def _long(service: Service, asked: Sequence[Asked], rate: float, minutes: float, seed: int) -> None:
    seconds = 60 * minutes
    settle = min(_SETTLE_SECONDS, seconds / 4)
    say(f"load: {rate:.2f} requests/s for {minutes:g} minutes")
    sizes: list[dict[str, float]] = []
    with Load(service.base, service.token, asked, rate=rate, seconds=seconds, seed=seed) as running:
        until = time.monotonic() + seconds
        time.sleep(settle)
        every = max(5.0, (seconds - settle) / 30)
        while True:
            sizes.append(service.memory())
            left = until - time.monotonic()
            if left < every:
                break
            time.sleep(every)
        time.sleep(max(0.0, until - time.monotonic() - 1))
        sizes.append(service.memory())
        sent = running.wait()
    good = [one.seconds for one in sent if one.good]
    totals = [sum(size.values()) for size in sizes]
    change = 100 * (totals[-1] / totals[0] - 1)
    print(
        f"\n{SHARE:.0%} of it ({rate:.2f} requests/s at random moments) for {minutes:g} minutes: {outcomes(sent)}"
    )
    print(f"latency: {spread(good)}")
    print(
        f"memory (proportional set size of all processes): {totals[0]:,.0f} MiB after {settle:.0f} s, "
        f"{totals[-1]:,.0f} at the end, {max(totals):,.0f} at most; {change:+.1f} % ({goal(abs(change), FLAT, '%')})"
    )
    print(f"all: {', '.join(f'{total:,.0f}' for total in totals)}")
    print("\n| process | MiB after the start | MiB at the end |\n|---|---:|---:|")
    for kind in sorted({kind for size in sizes for kind in size}, key=lambda kind: -sizes[-1].get(kind, 0.0)):
        print(f"| {kind} | {sizes[0].get(kind, 0.0):,.0f} | {sizes[-1].get(kind, 0.0):,.0f} |", flush=True)


def _too_much(
    service: Service, asked: Sequence[Asked], rate: float, seconds: float, ordinary: float, seed: int
) -> None:
    say(f"load: {rate:.2f} requests/s for {seconds:g} seconds")
    with Load(service.base, service.token, asked, rate=rate, seconds=seconds, seed=seed + 1) as running:
        time.sleep(seconds)
        probes = _until_ordinary(service, asked[0], ordinary)
        sent = running.wait()
    over = max(one.at for one in sent)
    refused = [one for one in sent if one.status == 503]
    accepted = [one for one in sent if one.good]
    print(f"\n{TOO_MUCH:g} times the capacity ({rate:.2f} requests/s) for {seconds:g} s: {outcomes(sent)}")
    print(f"accepted: {len(accepted) / len(sent):.0%}, latency {spread(one.seconds for one in accepted)}")
    with_header = sum(one.retry_after is not None and int(one.retry_after) >= 1 for one in refused)
    waits = sorted({int(one.retry_after) for one in refused if one.retry_after is not None})
    print(
        f"refused: {len(refused) / len(sent):.0%}, after {spread(one.seconds for one in refused)}; {with_header} of "
        f"{len(refused)} with Retry-After ({waits[0]} to {waits[-1]} s)"
        if waits
        else f"refused: {len(refused)}, none with Retry-After"
    )
    for at in range(len(probes) - _IN_A_ROW + 1):
        if all(one.good and one.seconds <= _ORDINARY * ordinary for one in probes[at : at + _IN_A_ROW]):
            after = probes[at].at + probes[at].seconds - over
            print(
                f"an ordinary question has its ordinary latency again (within {_ORDINARY:g} times its p50, "
                f"{_IN_A_ROW} in a row) {after:.1f} s after the last request ({goal(after, RECOVERY_SECONDS, 's')})",
                flush=True,
            )
            return
    print(f"no ordinary latency within {_LONGEST_SECONDS:.0f} s: MISSED")


def _until_ordinary(service: Service, question: Asked, ordinary: float) -> list[Sent]:
    """Ask one question again and again, until it has its ordinary latency a few times in a row, or for two minutes."""
    with Load(service.base, service.token, [question], concurrency=1, seconds=_LONGEST_SECONDS) as probing:
        began = time.monotonic()
        while time.monotonic() - began < _LONGEST_SECONDS:
            last = probing.so_far()[-_IN_A_ROW:]
            if len(last) == _IN_A_ROW and all(
                one.good and one.seconds <= _ORDINARY * ordinary for one in last
            ):
                break
            time.sleep(0.2)
        return probing.stop()


def autoscaling(run_dir: str, folder: Path, *, overrides: Sequence[str], seed: int, seconds: float) -> None:
    """Searches of many clients at once: replicas of the ingress and the retriever come, and go when it is calm."""
    most = {"ingress": 3, "retriever": 2}
    settings = {
        "ingress.min_replicas": 1, "ingress.max_replicas": most["ingress"], "ingress.target_ongoing": 3,
        "retriever.min_replicas": 1, "retriever.max_replicas": most["retriever"], "retriever.target_ongoing": 0.5,
    }  # fmt: skip
    for part in most:
        settings |= {f"{part}.upscale_seconds": 1, f"{part}.downscale_seconds": 5}
    scaled = [*overrides, *(f"serving.{name}={value}" for name, value in settings.items())]
    asked = [
        Asked(name=str(at), path="/v1/retrieve", rounds=[[{"query": body["question"], "k": 10}]])
        for at, body in enumerate(bodies_of(run_dir, seed))
    ]
    with Service(run_dir, folder, scaled) as service:
        seen: list[tuple[float, dict[str, int]]] = []
        began = time.monotonic()

        def look(until: float, counts: dict[str, int]) -> float | None:
            """Seconds until every part has that many replicas."""
            start, reached = time.monotonic(), None
            while time.monotonic() - start < until:
                now = {part: service.running().get(part, 0) for part in most}
                if not seen or seen[-1][1] != now:
                    seen.append((time.monotonic() - began, now))
                if reached is None and now == counts:
                    reached = time.monotonic() - start
                    if counts != most:
                        break
                time.sleep(0.25)
            return reached

        base, token = service.base, service.token
        with Load(base, token, asked, concurrency=1, pause=0.1) as calm:
            look(3.0, most)
            say(f"autoscaling: {AT_ONCE} clients for {seconds:g} s")
            with Load(base, token, asked, concurrency=AT_ONCE, seconds=seconds) as many:
                up = look(seconds, most)
                busy = many.wait()
            down = look(_LONGEST_SECONDS, dict.fromkeys(most, 1))
            quiet = calm.stop()
    print(
        f"\n## Autoscaling: 1 to {most['ingress']} of the ingress, 1 to {most['retriever']} of the retriever\n"
    )
    for at, counts in seen:
        print(f"{at:5.1f} s: {counts['ingress']} of the ingress, {counts['retriever']} of the retriever")
    print(
        f"\nall replicas after {f'{up:.1f} s' if up is not None else 'NEVER'} of load, the fewest again "
        f"{f'{down:.1f} s' if down is not None else 'NEVER'} after its end"
    )
    print(f"{AT_ONCE} clients: {outcomes(busy)}; one client all the time: {outcomes(quiet)}")
    failed = sum(not one.good for one in [*busy, *quiet])
    print(
        f"failed requests: {failed} ({goal(failed, 0, 'requests')}); "
        f"latency under load {spread(one.seconds for one in busy)}"
    )
