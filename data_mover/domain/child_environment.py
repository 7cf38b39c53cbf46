"""What processes that this one starts are given to find."""

import os
import sys


def environment() -> dict[str, str]:
    """This process's environment, in which `sys.executable` finds whatever this process can import.

    The scripts that buildout makes extend `sys.path` themselves: their interpreter alone does not know the eggs. What
    lies in the working directory by chance is not imported.
    """
    importable = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": importable, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
