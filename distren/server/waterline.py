"""What was given out outside of the database, for the day on which that comes back from an older backup.

A number that a client has seen is never given out again. The file lies beside the blobs, which outlive the database:
the term in which it was written, and a job number that no job has reached.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from sqlalchemy import Connection

from distren.errors import OutputError
from distren.storage import jobs as job_rows

log = logging.getLogger(__name__)

_AHEAD = 100
"""job numbers that are noted at a time: a small file is written that much less often"""


class Waterline:
    """The file `waterline` in `folder`. Raises OutputError where it can not be written."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "waterline"
        self._term = self._job = 0
        self.restored = False
        """whether the database was found to be an older copy when this term began"""

    def begin(self, connection: Connection, term: int) -> int:
        """The term that begins, given the number that the database would give it.

        A database that knows of fewer terms than were begun is an older copy: then its next job gets a number above
        all that were ever given out. Belongs into the transaction that begins the term.
        """
        known = self._read()
        self.restored = restored = known.get("term", 0) >= term
        if restored:
            log.warning(
                "the database is an older copy: jobs that came after it are unknown, and new ones get numbers from %d",
                known["job"] + 1,
            )
            job_rows.start_above(connection, known["job"])
            term = known["term"] + 1
        self._term, self._job = term, 0
        self.note(max(job_rows.highest(connection), known.get("job", 0) if restored else 0))
        return term

    def note(self, job: int) -> None:
        """A job has got this number."""
        if job < self._job:
            return
        self._job = job + _AHEAD
        scratch = self._path.with_suffix(f".{os.getpid()}")
        try:
            scratch.write_text(json.dumps({"term": self._term, "job": self._job}))
            scratch.replace(self._path)
        except OSError as error:
            raise OutputError(f"{self._path} can not be written: {error.strerror}") from error

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text())
            return {"term": int(found["term"]), "job": int(found["job"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
