"""A real Dropbear, the SSH server of small devices; sftp and scp are OpenSSH's programs there too."""

import getpass
import grp
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.openssh import SshServer, make_keys
from tests.servers.processes import LOOPBACK, absent, free_port, program, running, started

_NSS_WRAPPER = "libnss_wrapper.so"


@contextmanager
def dropbear_server(directory: Path) -> Iterator[SshServer]:
    """A server that lets in who has the key in the directory."""
    dropbear = program("dropbear")
    make_keys(directory)
    host_key, port, log = _own_key(directory / "dropbear_key"), free_port(), directory / "dropbear.log"
    command = [dropbear, "-F", "-E", "-m", "-r", str(directory / "dropbear_key"), "-p", f"{LOOPBACK}:{port}"]
    command += ["-P", str(directory / "dropbear.pid")]
    with running(command, log, env={**os.environ, **_at_home(directory)}) as process:
        started(process, port, log)
        yield SshServer(port, getpass.getuser(), directory / "user_key", host_key, process.pid)


def _own_key(path: Path) -> str:
    """Makes a key in Dropbear's own format; returns the public half as a registry has it."""
    subprocess.run([program("dropbearkey"), "-t", "ed25519", "-f", str(path)], check=True, capture_output=True)
    reported = subprocess.run(
        [program("dropbearkey"), "-y", "-f", str(path)], check=True, capture_output=True, text=True
    )
    (line,) = [line for line in reported.stdout.splitlines() if line.startswith("ssh-ed25519 ")]
    return " ".join(line.split()[:2])


def _at_home(directory: Path) -> dict[str, str]:
    """An environment in which the user lives in the directory: Dropbear looks for keys nowhere but at home."""
    ssh = directory / ".ssh"
    ssh.mkdir(mode=0o700)
    (ssh / "authorized_keys").write_text((directory / "user_key.pub").read_text())
    user = pwd.getpwuid(os.geteuid())
    group = grp.getgrgid(user.pw_gid)
    (directory / "passwd").write_text(f"{user.pw_name}:x:{user.pw_uid}:{user.pw_gid}::{directory}:/bin/sh\n")
    (directory / "group").write_text(f"{group.gr_name}:x:{group.gr_gid}:\n")
    return {
        "LD_PRELOAD": _nss_wrapper(),
        "NSS_WRAPPER_PASSWD": str(directory / "passwd"),
        "NSS_WRAPPER_GROUP": str(directory / "group"),
    }


def _nss_wrapper() -> str:
    found = sorted(Path("/usr/lib").glob(f"*/{_NSS_WRAPPER}"))
    if not found:
        absent(f"{_NSS_WRAPPER} is not installed")
    return str(found[0])
