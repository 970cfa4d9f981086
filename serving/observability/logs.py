"""Logs as JSON lines, each with the id of the request that it was written for."""

import json
import logging
import re
import secrets
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
_GIVEN = re.compile(rb"[\w.:/+=-]{1,64}", re.ASCII)


def request_id(given: bytes | None) -> str:
    """The id that the client gave, where it is short and plain, else a new one."""
    return given.decode() if given and _GIVEN.fullmatch(given) else secrets.token_hex(8)


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, worker, request_id, and what `extra={"fields": {…}}` adds.

    worker: its number, where the service has several.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._worker,
        }
        if asked := REQUEST_ID.get():
            line["request_id"] = asked
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(worker: int | None = None) -> None:
    """Write JSON lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(worker))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kserve").setLevel(logging.WARNING)  # it writes a line for each call
