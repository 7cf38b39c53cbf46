"""A server whose clock can be set while it runs."""

import glob
from pathlib import Path

from tests.servers.processes import absent


class Clock:
    """The wall clock of the processes that run in its environment; durations are not affected."""

    def __init__(self, file: Path) -> None:
        libraries = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not libraries:
            absent("faketime is not installed")
        self._file = file
        self.set_forth(0)
        self.environment = {
            "LD_PRELOAD": libraries[0],
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_forth(self, seconds: int) -> None:
        """Set the clock so many seconds ahead of the real time, or behind it."""
        unfinished = self._file.with_suffix(".unfinished")
        unfinished.write_text(f"{seconds:+d}\n")
        unfinished.chmod(0o644)
        unfinished.rename(self._file)
