"""What is part of the project and not of its package: scripts and documents."""

import importlib.util
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).parents[1]
#: where documents are, beside those directly in the project
FOLDERS = ("docs", "examples", "packaging", "tests")


def script(path: str) -> ModuleType:
    """The script as a module; its path is seen from the project."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, PROJECT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documents() -> list[Path]:
    """Every document, in Markdown."""
    return sorted([*PROJECT.glob("*.md"), *(path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.md"))])
