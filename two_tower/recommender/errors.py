"""Errors of requests."""

from two_tower.errors import InputError


class RequestError(InputError):
    """A request that cannot be answered.

    Args:
        status: HTTP status.
        code: error code for programs.
        message: the error.
        hint: the next step for the client.
        retry_after: seconds after which the client may try again.
    """

    def __init__(self, status: int, code: str, message: str, hint: str, *, retry_after: int | None = None) -> None:
        super().__init__(f"{message} {hint}")
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_after = retry_after

    def body(self) -> dict[str, dict[str, str]]:
        """The error as JSON."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


def malformed(message: str, hint: str) -> RequestError:
    """400: the request cannot be parsed."""
    return RequestError(400, "malformed", message, hint)


def not_found(message: str, hint: str) -> RequestError:
    """404: the request names something that does not exist."""
    return RequestError(404, "not_found", message, hint)


def conflict(message: str, hint: str) -> RequestError:
    """409: another request has changed what this one was to change."""
    return RequestError(409, "conflict", message, hint)


def invalid(message: str, hint: str) -> RequestError:
    """422: a value has the wrong type or is out of range."""
    return RequestError(422, "invalid", message, hint)


def unavailable(code: str, message: str, hint: str = "", retry_after: int = 1) -> RequestError:
    """503: the service cannot answer now."""
    hint = hint or "Try again after the number of seconds in Retry-After."
    return RequestError(503, code, message, hint, retry_after=retry_after)
