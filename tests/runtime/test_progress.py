from __future__ import annotations

import time
import urllib.request

import pytest
import ray

from kard_ray.runtime.progress import Progress


def test_the_last_line_tells_count_rate_tokens_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rationales", total=20, unit="texts", done=5) as progress:
        progress.advance(5, tokens=1000)
        time.sleep(0.05)
        progress.advance(5, tokens=100, failures=2)
    told = capsys.readouterr().err
    assert "rationales: 15/20 texts" in told
    assert "2 failed" in told
    assert "s left" in told
    # Five texts and 100 tokens in 0.05 s and a little: the first ones came after the engine's start.
    rate = float(told.split(" texts/s")[0].rsplit(" ", 1)[1])
    assert 0 < rate <= 100
    assert 0 < float(told.split(" tokens/s")[0].rsplit(" ", 1)[1]) <= 2000


def test_nothing_is_told_of_work_that_was_not_begun(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rationales", total=20, unit="texts", done=5):
        pass
    assert capsys.readouterr().err == ""


def test_one_batch_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rationales", total=20, unit="texts") as progress:
        progress.advance(20)
    assert "rationales: 20/20 texts" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_the_counts_are_metrics_of_ray() -> None:
    expected = {
        "ray_kard_ray_rows_total": 3.0,
        "ray_kard_ray_failed_rows_total": 1.0,
        "ray_kard_ray_generated_tokens_total": 70.0,
    }
    with Progress("counted", total=3, unit="texts") as progress:
        progress.advance(2, tokens=70)
        progress.advance(1, failures=1)
        deadline = time.monotonic() + 60  # Ray reports every ten seconds
        while (found := counted(ray.nodes()[0]["MetricsExportPort"])) != expected:
            assert time.monotonic() < deadline, found
            time.sleep(0.5)


def counted(port: int) -> dict[str, float]:
    """The counters of stage "counted": other tests of this process may have counted others."""
    return {
        line.split("{")[0]: float(line.rsplit(" ", 1)[1])
        for line in metrics(port).splitlines()
        if line.startswith("ray_kard_ray_") and 'stage="counted"' in line
    }


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()
