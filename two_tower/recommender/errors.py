"""What a client is told when a request cannot be answered."""

from two_tower.errors import InputError


class RequestError(InputError):
    """An answer other than 200: the HTTP status, a code for programs, a message and a hint for people."""

    def __init__(self, status: int, code: str, message: str, hint: str, *, retry_after: int | None = None) -> None:
        super().__init__(f"{message} {hint}")
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_after = retry_after

    def body(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


def malformed(message: str, hint: str) -> RequestError:
    return RequestError(400, "malformed", message, hint)


def not_found(message: str, hint: str) -> RequestError:
    return RequestError(404, "not_found", message, hint)


def invalid(message: str, hint: str) -> RequestError:
    """422: well-formed, but of a wrong type or out of range."""
    return RequestError(422, "invalid", message, hint)


def unavailable(code: str, message: str, hint: str = "", retry_after: int = 1) -> RequestError:
    hint = hint or "Try again after the seconds that Retry-After says."
    return RequestError(503, code, message, hint, retry_after=retry_after)
