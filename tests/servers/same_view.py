"""A chroot in which a directory is where it is outside too."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def same_view(directory: Path) -> Iterator[Path]:
    """A directory fit to be an sshd's ChrootDirectory, with nothing in it but the given one, at its own path.

    Whoever may not mount skips the test.
    """
    with tempfile.TemporaryDirectory(dir="/run" if os.geteuid() == 0 else None) as chroot:
        Path(chroot).chmod(0o755)
        inside = Path(f"{chroot}{directory}")
        inside.mkdir(parents=True)
        mount = ["mount", "--bind", str(directory), str(inside)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("only root can make a chroot, and not in every container")
        try:
            yield Path(chroot)
        finally:
            subprocess.run(["umount", "--lazy", str(inside)], check=True)
