from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kard_ray.cli import main


def test_a_user_error_ends_the_command_with_one_sentence_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["kard-ray", "run", str(tmp_path / "none.yaml")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("kard-ray: recipe ")
    assert "does not exist" in printed.err
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


def test_help_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys; sys.argv = ['kard-ray', '--help']\n"
        "from kard_ray.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'ray', 'torch', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    for stage in (
        "benchmark",
        "knowledge",
        "rationales",
        "silver",
        "train",
        "predict",
        "report",
        "evaluate",
        "doctor",
    ):
        assert stage in done.stdout
