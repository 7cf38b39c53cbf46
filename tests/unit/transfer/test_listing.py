"""What is found in a folder that is to be moved."""

import pytest

from data_mover.domain.selection import Selection
from data_mover.transfer import list_source
from data_mover.transfer.names import aside_path, staged_folder_path, temporary_path
from tests.unit.transfer.test_stages import files


def listed(root):
    return sorted(item.name for item in list_source(files(root), "/", Selection()))


@pytest.mark.parametrize(
    "name",
    [
        ".data_mover-",
        ".data_mover-notes",
        ".data_mover-7-0-1-old.txt",
        ".data_mover-7-0-1-0123456789abcdef0",
        ".data_mover-7-0-1-0123456789abcdef\n",
        ".data_mover-to-do",
    ],
)
def test_what_only_begins_like_a_temporary_file_is_moved(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / name).touch()

    assert listed(tmp_path) == ["", name, f"{name}/{name}"]


def test_temporary_files_of_moves_are_left_out(tmp_path):
    for path in (
        temporary_path("/a", 7, 0, 1),
        aside_path("/a", 7, 0, 1),
        temporary_path("/" + "x" * 255, 7**22, 9, 9),
    ):
        (tmp_path / path[1:]).touch()
    (tmp_path / staged_folder_path("/a", 7)[1:]).mkdir()

    assert listed(tmp_path) == [""]
