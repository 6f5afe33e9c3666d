"""What was given out outside of the database, for the day on which that comes back from an older backup.

A number that a client has seen is never given out again. The file lies beside the blobs, which outlive the database:
the term in which it was written, and the highest job number.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from distren.errors import OutputError
from distren.storage import jobs as job_rows

log = logging.getLogger(__name__)


class Waterline:
    """The file `waterline` in `folder`. Raises OutputError where it can not be written."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "waterline"
        self._term = self._job = 0
        self.restored = False
        """whether the database was found to be an older copy when this term began"""

    def begin(self, connection: Connection, term: int) -> int:
        """The term that begins, given the number that the database would give it.

        A database that knows of fewer terms, or of fewer job numbers, than there were is an older copy: then its next
        job gets a number above all that were ever given out. (One number less need not be: a process may have died
        between the note and its commit.) Belongs into the transaction that begins the term.
        """
        known, last = self._read(), job_rows.last_number(connection)
        before, highest = known.get("term", 0), known.get("job", 0)
        self.restored = before >= term or highest > last + 1
        if self.restored:
            log.warning(
                "the database is an older copy: jobs that came after it are unknown, and new ones get numbers from %d",
                highest + 1,
            )
        if highest > last:
            job_rows.start_above(connection, highest)
        self._term, self._job = max(term, before + 1), -1
        self.note(max(last, highest))
        return self._term

    def note(self, job: int) -> None:
        """A job is about to get this number; where that can not be noted, it must not."""
        if job <= self._job:
            return
        scratch = self._path.with_suffix(f".{os.getpid()}")
        try:
            scratch.write_text(json.dumps({"term": self._term, "job": job}))
            scratch.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise OutputError(
                f"the server can not write {self._path}: {error.strerror}; nothing was changed, make room there"
            ) from error
        self._job = job

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text())
            return {"term": int(found["term"]), "job": int(found["job"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
