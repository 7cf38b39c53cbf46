"""rsync, as the judge of whether two folders are equal."""

import subprocess
from pathlib import Path

from tests.servers.processes import program


def differences(source: Path, destination: Path) -> list[str]:
    """What would have to be done to make the destination equal, an item each: content, permissions and times of files
    and directories, what is missing and what is there besides. Links are left out."""
    equal = ["--recursive", "--perms", "--times", "--checksum", "--delete"]
    only_report = ["--dry-run", "--itemize-changes", "--info=nonreg0"]
    command = [program("rsync"), *equal, *only_report, f"{source}/", f"{destination}/"]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="replace").splitlines()
