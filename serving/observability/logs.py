"""Logs as JSON lines with the id of the request."""

import json
import logging
import re
import secrets
import sys
import time
from contextvars import ContextVar
from datetime import UTC, datetime

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
LINES = 20  # a second, of one logger and level: clients must not fill the disk
_VALID_ID = re.compile(rb"[\w.:/+=-]{1,64}", re.ASCII)


def request_id(sent: bytes | None) -> str:
    """The id that the client sent if it is short and plain, else a new one."""
    return sent.decode() if sent and _VALID_ID.fullmatch(sent) else secrets.token_hex(8)


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, worker, request_id, and the fields of `extra`.

    Args:
        worker: number of the worker; None if the service has one process.
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
        if current_id := REQUEST_ID.get():
            line["request_id"] = current_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Bounded(logging.Filter):
    """Drops lines beyond LINES a second of the same logger and level; the next line that passes has `dropped`."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[tuple[str, int], tuple[float, int]] = {}  # start of the second, lines in it

    def filter(self, record: logging.LogRecord) -> bool:
        key, now = (record.name, record.levelno), time.monotonic()
        began, lines = self._states.get(key, (now, 0))
        if now >= began + 1:
            if lines > LINES:
                record.fields = {**getattr(record, "fields", {}), "dropped": lines - LINES}
            began, lines = now, 0
        self._states[key] = (began, lines + 1)
        return lines < LINES


def configure(worker: int | None = None) -> None:
    """Log JSON lines to stderr. worker: number of the worker."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(worker))
    handler.addFilter(Bounded())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kserve").setLevel(logging.WARNING)  # it logs every call
