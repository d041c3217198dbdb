"""What a request can end in, other than an answer: a status, a code for programs, a sentence for people."""

from __future__ import annotations

from typing import Any

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "internal_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


class ServiceError(Exception):
    """A refused or failed request; goes through Ray as it is."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_after: int | None = None
    ) -> None:
        """``retry_after``: seconds after which another try may succeed."""
        super().__init__(status, code, message, param, retry_after)  # all of them, so that it can be pickled
        self.status, self.code, self.message = status, code, message
        self.param, self.retry_after = param, retry_after

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    def body(self, request_id: str) -> dict[str, Any]:
        """The response's JSON, in the form of OpenAI's interface."""
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, "invalid_request_error"),
                "code": self.code,
                "param": self.param,
                "request_id": request_id,
            }
        }


def overloaded(retry_after: int) -> ServiceError:
    """The queue is full."""
    return ServiceError(503, "overloaded", "the service is at its limit; try again.", None, retry_after)


def unavailable(what: str, retry_after: int = 2) -> ServiceError:
    """A part could not do its work within the deadline, or at all."""
    return ServiceError(503, "unavailable", f"{what} is not available now; try again.", None, retry_after)


def past_deadline() -> ServiceError:
    """The deadline has passed."""
    return ServiceError(504, "deadline", "the deadline passed before the answer was there.")


def invalid(param: str, message: str) -> ServiceError:
    """A field that cannot be accepted; ``message`` is a sentence without the field's name."""
    return ServiceError(422, "invalid_field", f"{param}: {message}", param)
