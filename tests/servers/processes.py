"""Starts and ends server processes, and waits for their effects."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

LOOPBACK = "127.0.0.1"


#: those below the ports that the kernel gives to outgoing connections, one of which would else be taken before the
#: server listens
_PORTS = range(10240, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]))


def free_port(address: str = LOOPBACK) -> int:
    """A port of the loopback address that nobody listens on at the moment; by chance, since others look as well."""
    for port in random.SystemRandom().sample(_PORTS, k=100):
        with _socket(address) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    pytest.fail(f"none of 100 ports of {address} is free")


#: how seldom a wait that lasts looks at most
SELDOM_SECONDS = 0.1


def eventually(look: Callable[..., T], what: str, timeout_seconds: float = 30, every_seconds: float = 0.02) -> T:
    """The first true answer of `look`; fails with `what` if there is none in time. Looks more seldom by and by: who is
    asked all the time, and others beside, would get less done meanwhile."""
    began = time.monotonic()
    while (waited_seconds := time.monotonic() - began) < timeout_seconds:
        answer = look()
        if answer:
            return answer
        time.sleep(max(every_seconds, min(waited_seconds / 10, SELDOM_SECONDS)))
    pytest.fail(f"not in {timeout_seconds:g} s: {what}")


def answers(port: int, address: str = LOOPBACK) -> bool:
    """Whether something accepts connections on the port."""
    with _socket(address) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)


def program(name: str, *directories: str) -> str:
    """Return the path of a server program. If it is missing, the test is skipped at home and fails in CI."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", *directories])
    found = shutil.which(name, path=search)
    if found is None:
        absent(f"{name} is not installed")
    return found


def absent(sentence: str) -> None:
    """A server that a test needs is missing: the test is skipped at home and fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


@contextmanager
def running(
    command: Sequence[str], log: Path, stop_signal: int = signal.SIGTERM, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block; its output goes to the log."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)
    try:
        yield process
    finally:
        end(process, stop_signal=stop_signal)


def end(*processes: subprocess.Popen[bytes], stop_signal: int = signal.SIGTERM) -> None:
    """Asks all of the processes to end, and kills those that do not."""
    for process in processes:
        process.send_signal(stop_signal)
    deadline = time.monotonic() + 10
    for process in processes:
        try:
            process.wait(timeout=max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def started(process: subprocess.Popen[bytes], port: int, log: Path, address: str = LOOPBACK) -> None:
    """Returns once the process accepts connections; fails with its log if it ends before."""
    eventually(lambda: process.poll() is not None or answers(port, address), f"{process.args!r} listening on {port}")
    if process.poll() is not None:
        pytest.fail(f"{process.args!r} ended with {process.returncode}: {log.read_text(errors='replace')}")


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for child in children for each in (child, *descendants(child))]


def rss(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
