from __future__ import annotations

import errno

import pytest
from ray.exceptions import RayTaskError

from kard_ray.runtime.errors import UserError, explain


def raised(error: Exception, *, cause: Exception | None = None, during: Exception | None = None) -> Exception:
    """``error`` as it is caught after it was raised from ``cause`` or while ``during`` was handled."""
    error.__cause__, error.__context__ = cause, cause or during
    return error


def test_a_user_error_is_its_own_sentence() -> None:
    assert explain(UserError("file x does not exist.")) == "file x does not exist."


def test_a_user_error_is_found_behind_any_chain_of_errors() -> None:
    wanted = UserError("the sentence.")
    chains = [
        raised(RuntimeError("outer"), cause=wanted),
        raised(RuntimeError("outer"), during=wanted),
        raised(RuntimeError("outer"), cause=raised(ValueError("middle"), cause=wanted)),
        raised(RuntimeError("outer"), cause=raised(ValueError("middle"), during=wanted)),
        raised(
            KeyError("outer"), cause=raised(TypeError("middle"), cause=raised(OSError("inner"), cause=wanted))
        ),
    ]
    assert [explain(chain) for chain in chains] == ["the sentence."] * len(chains)


def test_a_user_error_of_a_ray_worker_is_found_behind_rays_own_error() -> None:
    wanted = UserError("the sentence.")
    error = RayTaskError("work", "Traceback ...", wanted)
    assert explain(error) == "the sentence."
    assert explain(error.as_instanceof_cause()) == "the sentence."
    assert explain(raised(RuntimeError("data failed"), cause=error.as_instanceof_cause())) == "the sentence."


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "Kein Platz", "/tmp/x"),
        RuntimeError("worker died: [Errno 28] No space left on device"),
    ],
)
def test_a_full_disk_is_told_wherever_it_was_met(error: Exception) -> None:
    for met in (
        error,
        raised(RuntimeError("outer"), cause=error),
        raised(RuntimeError("outer"), during=error),
    ):
        sentence = explain(met)
        assert sentence is not None
        assert sentence.startswith("the disk is full")


@pytest.mark.parametrize(
    "error",
    [RuntimeError("boom"), OSError(errno.EACCES, "denied"), KeyError("x"), ValueError(), AssertionError()],
)
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    assert explain(error) is None
    assert explain(raised(RuntimeError("outer"), cause=error)) is None


def test_a_circle_of_errors_ends() -> None:
    a, b = RuntimeError("a"), RuntimeError("b")
    a.__cause__, b.__cause__ = b, a
    assert explain(a) is None


def test_a_cause_that_is_no_error_is_no_trouble() -> None:
    error = RuntimeError("outer")
    error.cause = "a text"  # type: ignore[attr-defined]
    assert explain(error) is None
    error.__cause__ = UserError("the sentence.")
    assert explain(error) == "the sentence."
