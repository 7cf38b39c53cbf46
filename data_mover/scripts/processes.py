"""A set of child processes that run side by side and end together."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from data_mover.errors import DataMoverError

#: how long each process may take to end before it is killed
STOP_TIMEOUT_SECONDS = 5.0
TAIL_LINES = 20

_PR_SET_PDEATHSIG = 1


class ProcessDied(DataMoverError):
    """A process of the set ended, or failed, when it should not have."""


class Processes:
    """Child processes, each with a log of its own; leaving the context ends them all, the youngest first."""

    def __init__(self, logs: Path, stop_timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        self._logs = logs
        self._stop_timeout_seconds = stop_timeout_seconds
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path]) -> None:
        """Starts a process that is to run until the end; `name` is that of its log too."""
        self._running[name] = self._spawn(name, command)

    def run(self, name: str, command: Sequence[str | Path]) -> None:
        """Runs a process to its end. Raises ProcessDied if it fails."""
        self.start(name, command)
        if self._running[name].wait():
            self.check()
        del self._running[name]

    def check(self) -> None:
        """Raises ProcessDied, with the end of its log, if one has ended."""
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                raise ProcessDied(f"{name} ended with status {code}. The end of {self.log(name)}:\n{self._tail(name)}")

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def stop(self) -> None:
        """Asks every process to end, then kills; another Ctrl-C meanwhile kills at once."""
        try:
            for process in reversed(self._running.values()):
                self._end(process)
        finally:
            for process in self._running.values():
                _kill(process)
            self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, name: str, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """In a session of its own: a Ctrl-C at the terminal is for the parent alone."""
        with self.log(name).open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(self._stop_timeout_seconds)

    def _tail(self, name: str) -> str:
        lines = self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])


def environment() -> dict[str, str]:
    """This process's environment, in which `sys.executable` finds whatever this process can import.

    The scripts that buildout makes extend `sys.path` themselves: their interpreter alone does not know the eggs. What
    lies in the working directory by chance is not imported.
    """
    importable = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": importable, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills the process and what it has started in its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_with_parent() -> None:
    """Even where the parent is killed and can end nobody; Linux alone can do this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
