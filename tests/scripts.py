"""Scripts that are part of the project and not of its package."""

import importlib.util
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).parents[1]


def script(path: str) -> ModuleType:
    """The script as a module; its path is seen from the project."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, PROJECT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
