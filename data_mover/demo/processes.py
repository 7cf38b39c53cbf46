"""The processes of the demo, under the same supervisor configuration as in production."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xmlrpc.client import Error, ServerProxy

from data_mover.domain.child_environment import environment
from data_mover.domain.errors import DataMoverError

#: how long a process may be down before the demo fails
PATIENCE_SECONDS = 20.0
LOOK_EVERY_SECONDS = 0.1
TAIL_LINES = 20

_PR_SET_PDEATHSIG = 1


class ProcessDied(DataMoverError):
    """A process ends again and again."""


class Processes:
    """supervisord and its programs; leaving the context ends them all."""

    def __init__(self, directory: Path, configuration: Path, variables: Mapping[str, str]) -> None:
        """`configuration` is the `supervisord.conf` of the directory, by a path short enough for a socket beside it.
        Its programs get the variables in addition to those of this process."""
        self._directory = directory
        self._configuration = configuration
        self._variables = variables
        self._well_at: dict[str, float] = {}
        self._pids: list[int] = []

    def check(self) -> None:
        """Raise ProcessDied, with the end of its log, if a process has been down for a while."""
        if self._supervisord.poll() is not None:
            raise self._died("supervisord")
        now = time.monotonic()
        for process in self._states():
            name = process["name"]
            if process["statename"] == "RUNNING" or name not in self._well_at:
                self._well_at[name] = now
            elif now - self._well_at[name] > PATIENCE_SECONDS:
                raise self._died(name)

    def log(self, name: str) -> Path:
        return self._directory / "logs" / f"{name}.log"

    def logs(self, pattern: str) -> Iterable[Path]:
        """Return the logs of the processes with such names."""
        return (self._directory / "logs").glob(f"{pattern}.log")

    def parent_of(self, pid: int) -> tuple[str, int] | None:
        """Return name and pid of the process that has started another one, if it is one of these; only Linux knows."""
        try:
            status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
        except OSError:
            return None
        parent = int(status.partition("PPid:")[2].split()[0])
        return next(((each["name"], parent) for each in self._states() if each["pid"] == parent), None)

    def __enter__(self) -> Self:
        """Start supervisord, in a session of its own: a Ctrl-C at the terminal is only for the parent."""
        with self.log("output").open("ab") as output:
            self._supervisord = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment(), **self._variables},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every process, in order; kill what remains after another Ctrl-C or the death of supervisord."""
        self._states()
        with suppress(KeyboardInterrupt):
            self._supervisord.terminate()
            self._await_end()
        self._kill()
        self._await_end()

    def _await_end(self) -> None:
        """Wait for its end. supervisord checks its processes once a second, and on every request."""
        while self._supervisord.poll() is None:
            self._states()
            time.sleep(LOOK_EVERY_SECONDS)

    def _states(self) -> list[Any]:
        """Return supervisord's report of each process; none until it listens."""
        try:
            with self._connection() as connection:
                states: Any = connection.supervisor.getAllProcessInfo()
        except (OSError, Error):
            return []
        self._pids = [process["pid"] for process in states if process["pid"]]
        return list(states)

    def _kill(self) -> None:
        """Kill the processes that are still in supervisord's session."""
        for pid in self._pids:
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self._supervisord.pid:
                    os.kill(pid, signal.SIGKILL)

    def _connection(self) -> ServerProxy:
        from supervisor.xmlrpc import SupervisorTransport  # of an extra, which the other commands do without

        socket = self._configuration.with_name("supervisor.sock")
        return ServerProxy("http://localhost", transport=SupervisorTransport(serverurl=f"unix://{socket}"))

    def _died(self, name: str) -> ProcessDied:
        log = self.log("output" if name == "supervisord" else name)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])
        return ProcessDied(f"{name} does not stay up. The end of {log}:\n{tail}")


def _end_with_parent() -> None:
    """Make supervisord end with its parent, even if that is killed; only Linux can do this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
