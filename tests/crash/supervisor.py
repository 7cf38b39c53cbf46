"""What restarts a deployment's processes when they die, as an operator's supervisor does."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.servers.processes import descendants, eventually

Start = Callable[[], subprocess.Popen[bytes]]


class Supervisor:
    """Processes by name, each started again as soon as it has ended. Leaving the context wakes what is stopped, and
    asks all to end."""

    def __init__(self, starts: dict[str, Start]) -> None:
        self._starts = starts
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._paused: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_running)

    def __enter__(self) -> "Supervisor":
        self._running = {name: start() for name, start in self._starts.items()}
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self.wake()
        for process in self._running.values():
            process.terminate()

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def process(self, name: str) -> subprocess.Popen[bytes]:
        return self._running[name]

    def names(self, prefix: str = "") -> list[str]:
        return [name for name in self._starts if name.startswith(prefix)]

    def pause(self, name: str) -> None:
        """Leaves the process alone from now on, also when it has ended."""
        self._paused.add(name)

    def resume(self, name: str) -> None:
        """Starts the process again once it has ended."""
        self._paused.discard(name)

    def horses(self, name: str) -> list[int]:
        """The work-horse of a worker, if it has one now."""
        return _children(self.pid(name))

    def stopped(self) -> list[int]:
        """The processes that have been stopped, work-horses included."""
        everybody = [pid for name in self.names() for pid in (self.pid(name), *_children(self.pid(name)))]
        return [pid for pid in everybody if _is_stopped(pid)]

    def wake(self) -> None:
        for pid in self.stopped():
            strike(pid, signal.SIGCONT)

    def _keep_running(self) -> None:
        while not self._ended.wait(0.05):
            for name, process in list(self._running.items()):
                if process.poll() is not None and name not in self._paused:
                    self._running[name] = self._starts[name]()


def strike(pid: int, number: int) -> None:
    """Sends the signal; one who is no longer there is fine."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def run_a_little(pid: int) -> None:
    """Lets a stopped process run until it has had its turn at least once, and stops it again."""
    before = _turns(pid)
    strike(pid, signal.SIGCONT)
    eventually(lambda: _turns(pid) != before, f"{pid} has had its turn")
    strike(pid, signal.SIGSTOP)


def _turns(pid: int) -> int:
    """The number of context switches of its threads; 0 if the process is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        reported = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int(count) for each in reported for count in re.findall(r"ctxt_switches:\s+(\d+)", each))
    return 0


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return descendants(pid)
    return []


def _is_stopped(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False
