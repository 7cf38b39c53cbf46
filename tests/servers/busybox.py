"""The shell and the tools of a small device, instead of GNU's."""

import subprocess
from pathlib import Path

from tests.servers.processes import program


def busybox_shell(directory: Path) -> str:
    """An sshd's ForceCommand that runs what was asked for with BusyBox' shell and tools, and OpenSSH's scp; the tools
    are linked in the new directory."""
    busybox = program("busybox")
    directory.mkdir()
    for name in subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split():
        (directory / name).symlink_to(busybox)
    (directory / "scp").symlink_to(program("scp"))
    return f'PATH={directory} exec {busybox} sh -c "$SSH_ORIGINAL_COMMAND"'
