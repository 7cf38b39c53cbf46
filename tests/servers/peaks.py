"""The most memory that the processes of a worker have used."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import descendants


@dataclass
class Peaks:
    """The peaks of a worker and of its work-horse, in bytes, as far as they were sampled."""

    worker_bytes: int = 0
    horse_bytes: int = 0

    def look(self, worker: subprocess.Popen[bytes]) -> None:
        self.worker_bytes = max(self.worker_bytes, _peak_bytes(worker.pid))
        self.horse_bytes = max([self.horse_bytes, *map(_peak_bytes, descendants(worker.pid))])

    def __str__(self) -> str:
        return f"worker {self.worker_bytes / 1e6:.1f} MB, work-horse {self.horse_bytes / 1e6:.1f} MB"


def _peak_bytes(pid: int) -> int:
    """0 of a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
