"""The environment of child processes."""

import os
import sys


def environment() -> dict[str, str]:
    """Return this process's environment, in which `sys.executable` finds all that this process can import.

    The scripts that buildout makes extend `sys.path` themselves: their interpreter alone does not know the eggs.
    Nothing is imported from the working directory.
    """
    importable = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": importable, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
