"""The audit trail: who asked for what, and what was answered. Each line carries the hash of the line before it.

A line is on disk before its answer is sent. Calls that only read leave none.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from data_mover.domain.errors import ServiceUnavailable

log = logging.getLogger(__name__)

#: so many refused logins are recorded in a minute; the others are counted
MOST_STRANGERS = 60
_MINUTE_SECONDS = 60.0
#: a line is shorter
_LONGEST_LINE_BYTES = 2**20


class AuditTrail:
    """A file that only grows, of JSON lines; several processes may write to it. Nobody but its user can read it."""

    def __init__(self, path: Path | None) -> None:
        """Without a path nothing is recorded."""
        self._path = path
        self._writing = threading.Lock()
        self._strangers: list[float] = []
        self._uncounted = 0

    def record(self, **entry: Any) -> None:
        """Append a line. Raises ServiceUnavailable if it cannot be written: nobody is answered then."""
        if self._path is None:
            return
        try:
            with self._writing, _locked(self._path) as descriptor:
                line = {"at": _now(), **entry, "previous": _hash_of_the_last(descriptor)}
                os.write(descriptor, json.dumps(line, default=str).encode() + b"\n")
                os.fsync(descriptor)
        except OSError as error:
            log.error("audit-not-recorded %s: %s", self._path, error.strerror)
            raise ServiceUnavailable("the audit trail cannot be written") from error

    def record_stranger(self, **entry: Any) -> None:
        """Append a line about a refused login, unless there were many of late: nobody can fill the disk by them."""
        now = time.monotonic()
        with self._writing:
            self._strangers = [at for at in self._strangers if now - at < _MINUTE_SECONDS]
            if len(self._strangers) >= MOST_STRANGERS:
                self._uncounted += 1
                return
            self._strangers.append(now)
            left_out, self._uncounted = self._uncounted, 0
        more = {"left_out_before": left_out} if left_out else {}
        self.record(event="login-refused", **entry, **more)


def first_broken_line(path: Path) -> int | None:
    """Return the number of the first line that does not carry the hash of the line before it; None if all do.

    The first line of a file may carry that of a file before.
    """
    before: str | None = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                previous = json.loads(line)["previous"]
            except (ValueError, KeyError, TypeError):
                return number
            if number > 1 and previous != before:
                return number
            before = sha256(line.rstrip(b"\n")).hexdigest()
    return None


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _hash_of_the_last(descriptor: int) -> str | None:
    """Return the hash of the last line, None if there is none. Ends a line that a crash has cut off."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _LONGEST_LINE_BYTES, max(0, size - _LONGEST_LINE_BYTES))
    if not tail:
        return None
    if not tail.endswith(b"\n"):
        os.write(descriptor, b"\n")
    return sha256(tail.rstrip(b"\n").rpartition(b"\n")[2]).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
