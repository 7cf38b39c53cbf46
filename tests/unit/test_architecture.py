"""The picture of the architecture is that of the code."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "draw_architecture.py"


def test_the_picture_in_the_docs_shows_the_code_as_it_is():
    spec = importlib.util.spec_from_file_location("draw_architecture", SCRIPT)
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)

    assert drawing.PICTURE.read_text() == drawing.picture(), "run .venv/bin/python docs/draw_architecture.py"
