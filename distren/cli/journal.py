"""Log lines of the long-running programs: time, level, a constant sentence, then the ids that it is about."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{moment}.{int(record.msecs):03d} {level}{record.getMessage()}{_ids(record.__dict__)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _ids(attributes: Mapping[str, object]) -> str:
    """What was given as `extra`, as ` name=value`."""
    found = [f" {name}={value}" for name, value in attributes.items() if name not in _STANDARD]
    return "".join(found)


def begin(default: str = "INFO") -> None:
    """Write log lines to stderr from now on; DISTREN_LOG names another level than `default`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("distren").setLevel(os.environ.get("DISTREN_LOG", default).upper())
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its errors reach us as exceptions, and are told once
