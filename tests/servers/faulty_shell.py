"""An OpenSSH server whose commands break or lie: each goes through this program, which applies the chosen fault.

Run by sshd as `python faulty_shell.py DIRECTORY`, with the command in SSH_ORIGINAL_COMMAND.
"""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.servers.openssh import SshServer

#: where a stream of bytes is bent or broken
MIDDLE_BYTES = 300_000
_PIECE_BYTES = 65_536
#: longer than any test waits
_FOR_EVER_SECONDS = 60


@dataclass
class FaultyShell:
    """Where the server is, and what happens to its commands."""

    server: "SshServer"
    directory: Path

    def order(self, deed: str = "", number: int = 0) -> None:
        """Count commands from one from now on. The command of that number, or each if it is 0, gets the deed, one of
        `DEEDS`."""
        (self.directory / "count").write_text("0")
        (self.directory / "order").write_text(json.dumps([deed, number]))

    @property
    def count(self) -> int:
        """How many commands have run since the last fault was set."""
        return int((self.directory / "count").read_text())


@contextmanager
def faulty_shell(directory: Path) -> Iterator[FaultyShell]:
    """A server without a fault at first."""
    from tests.servers.openssh import openssh_server

    directory.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["exec", sys.executable, "-ISE", str(Path(__file__).absolute()), str(directory)])
    with openssh_server(directory, extra=f"ForceCommand {command}") as server:
        shell = FaultyShell(server, directory)
        shell.order()
        yield shell


def _counted(directory: Path) -> int:
    """The number of this command; several run at a time."""
    with (directory / "count").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        number = int(file.read() or 0) + 1
        file.seek(0)
        file.write(str(number))
    return number


def _execute(command: str) -> None:
    os.execv("/bin/sh", ["sh", "-c", command])


def _run(command: str, **pipes: Any) -> int:
    return subprocess.run(["/bin/sh", "-c", command], check=False, **pipes).returncode


def _fail(command: str) -> None:
    sys.exit(1)


def _pretend(command: str) -> None:
    """Do nothing, and report success."""


def _hang(command: str) -> None:
    time.sleep(_FOR_EVER_SECONDS)


def _cut(command: str) -> None:
    """Ends the server's process of this connection, and says nothing."""
    pid = os.getppid()
    while "sshd" not in Path(f"/proc/{pid}/comm").read_text():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(pid, signal.SIGKILL)


def _fail_afterwards(command: str) -> None:
    _run(command)
    sys.exit(1)


def _hang_afterwards(command: str) -> None:
    _run(command)
    _hang(command)


def _cut_afterwards(command: str) -> None:
    _run(command)
    _cut(command)


def _greet(command: str) -> None:
    """What a careless profile does."""
    os.write(1, b"Welcome to the host!\n")
    _execute(command)


def _with_input(bend: Callable[[bytes, int], bytes]) -> Callable[[str], None]:
    """A deed that passes the input on and changes each piece; the change gets the offset of the piece."""

    def deed(command: str) -> None:
        child = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE)
        offset = 0
        while piece := os.read(0, _PIECE_BYTES):
            child.stdin.write(bend(piece, offset))
            child.stdin.flush()
            offset += len(piece)
        child.stdin.close()
        sys.exit(child.wait())

    return deed


def _with_output(bend: Callable[[bytes, int], bytes]) -> Callable[[str], None]:
    def deed(command: str) -> None:
        child = subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE)
        offset = 0
        while piece := os.read(child.stdout.fileno(), _PIECE_BYTES):
            os.write(1, bend(piece, offset))
            offset += len(piece)
        sys.exit(child.wait())

    return deed


def _alter(piece: bytes, offset: int) -> bytes:
    """One byte in the middle becomes another."""
    at = MIDDLE_BYTES - offset
    return piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :] if 0 <= at < len(piece) else piece


def _end_early(piece: bytes, offset: int) -> bytes:
    return piece[: max(0, MIDDLE_BYTES - offset)]


def _stall(piece: bytes, offset: int) -> bytes:
    if offset + len(piece) > MIDDLE_BYTES:
        time.sleep(_FOR_EVER_SECONDS)
    return piece


def _break(piece: bytes, offset: int) -> bytes:
    if offset + len(piece) > MIDDLE_BYTES:
        _cut("")
    return piece


DEEDS: dict[str, Callable[[str], None]] = {
    "": _execute,
    "fails": _fail,
    "is pretended": _pretend,
    "hangs": _hang,
    "cuts": _cut,
    "fails though done": _fail_afterwards,
    "is done and hangs": _hang_afterwards,
    "is done and cuts": _cut_afterwards,
    "is greeted": _greet,
    "takes another byte": _with_input(_alter),
    "takes less": _with_input(_end_early),
    "stops taking": _with_input(_stall),
    "cuts while it takes": _with_input(_break),
    "gives less": _with_output(_end_early),
    "stops giving": _with_output(_stall),
    "cuts while it gives": _with_output(_break),
}


def main(directory: Path, command: str) -> None:
    deed, number = json.loads((directory / "order").read_text())
    strikes = _counted(directory) == number or number == 0
    DEEDS[deed if strikes else ""](command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ["SSH_ORIGINAL_COMMAND"])
