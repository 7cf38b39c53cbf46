"""A worker that is killed in mid-copy, and the one that resumes the copy."""

import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_mover.demo.processes import Processes

MEBIBYTE = 2**20
#: the part of the file after which it is too late: the copy could end before its worker does
LATEST_PART = 0.75

_RESUMED = re.compile(r"copy-resumed job=(\d+) .*offset_bytes=(\d+)")


class Crash:
    """Kills the worker of a job once a part of the file has arrived, and says where another one resumes."""

    def __init__(self, processes: Processes, say: Callable[[str], None], earliest_bytes: int) -> None:
        """`earliest_bytes` is how much must have arrived, so that there is a checkpoint to resume from."""
        self._processes = processes
        self._say = say
        self._earliest_bytes = earliest_bytes
        self.killed: str | None = None
        self.resumed_at_byte: int | None = None

    def look(self, job: Mapping[str, Any], worker: Callable[[], str]) -> None:
        """Kill the worker if it is time, or look for the one that resumes. `worker` returns machine:pid of the job's
        worker."""
        if self.killed is None and self._is_in_mid_copy(job):
            self._kill(job, int(worker().rpartition(":")[2]))
        elif self.killed is not None and self.resumed_at_byte is None:
            self._find_resumption(int(job["id"]))

    def _is_in_mid_copy(self, job: Mapping[str, Any]) -> bool:
        done, total = job.get("bytes_done", 0), job.get("bytes_total", 0)
        return job.get("phase") == "transferring" and self._earliest_bytes <= done <= LATEST_PART * total

    def _kill(self, job: Mapping[str, Any], pid: int) -> None:
        found = self._processes.parent_of(pid)
        if found is None:
            return  # it has gone by itself; the next look finds another one
        self.killed, worker_pid = found
        mebibytes = job["bytes_done"] / MEBIBYTE
        self._say(f"{self.killed} has copied {mebibytes:,.0f} MiB. Killing it in mid-copy: kill -9 {worker_pid}")
        os.kill(worker_pid, signal.SIGKILL)

    def _find_resumption(self, job_id: int) -> None:
        for log in sorted(self._processes.logs("worker-*")):
            offset = resumption(log, job_id)
            if offset is not None:
                self.resumed_at_byte = offset
                self._say(f"{log.stem} resumes the copy at byte {offset:,}, having compared what is before it")
                return


def resumption(log: Path, job_id: int) -> int | None:
    """Return the byte at which a copy of the job was resumed, by the log of a worker."""
    for match in _RESUMED.finditer(log.read_text("utf-8", "replace")):
        if int(match[1]) == job_id:
            return int(match[2])
    return None
