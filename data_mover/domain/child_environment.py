"""The environment of child processes, and the programs that are installed with this one."""

import os
import shutil
import sys
from pathlib import Path


def environment() -> dict[str, str]:
    """Return this process's environment, in which `sys.executable` finds all that this process can import.

    The scripts that buildout makes extend `sys.path` themselves: their interpreter alone does not know the eggs.
    Nothing is imported from the working directory.
    """
    importable = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": importable, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def script_directories() -> list[Path]:
    """Return where our scripts can be: beside the running one, or beside the Python."""
    return [Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent]


def script(name: str) -> str:
    """Return how a shell starts one of our programs: by its name if that finds ours, else by its path."""
    own = shutil.which(name, path=os.pathsep.join(map(str, script_directories())))
    return name if own is None or shutil.which(name) == own else own
