"""What is found in a folder that is to be moved."""

import subprocess

import pytest

from data_mover.domain.errors import TooLarge
from data_mover.domain.selection import Links, Selection
from data_mover.transfer import list_source
from data_mover.transfer.listing import MOST_LEVELS
from data_mover.transfer.names import aside_path, staged_folder_path, temporary_path
from tests.unit.transfer.test_stages import files


def anywhere(path):
    """Lets every directory be listed."""


def listed(root):
    return sorted(item.name for item in list_source(files(root), "/", Selection(), lambda: None, anywhere))


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


@pytest.fixture
def nested(tmp_path):
    """Makes directories within each other, with a file in the innermost; returns the root."""
    root = tmp_path / "root"
    root.mkdir()

    def make(levels):
        path = root
        for _ in range(levels):
            path = path / "d"
            path.mkdir()
        (path / "file").touch()
        return root

    yield make
    subprocess.run(["rm", "-rf", root], check=True)


def test_a_file_within_as_many_directories_as_may_be_is_found(nested):
    names = [
        item.name
        for item in list_source(files(nested(MOST_LEVELS)), "/", Selection(("**/file",)), lambda: None, anywhere)
    ]

    assert names[:3] == ["", "d", "d/d"]
    assert names[-1] == "d/" * MOST_LEVELS + "file"


@pytest.mark.parametrize(
    ("levels", "match"),
    [(MOST_LEVELS + 1, ()), (MOST_LEVELS + 1, ("**/file",)), (MOST_LEVELS + 1, ("nothing",)), (1500, ("**/file",))],
)
def test_directories_that_are_too_deep_end_the_listing(nested, levels, match):
    with pytest.raises(TooLarge, match=f"a move has {MOST_LEVELS} levels of directories at most"):
        list(list_source(files(nested(levels)), "/", Selection(match), lambda: None, anywhere))


class Enough(Exception):
    """So many entries were looked at."""


def looking(most):
    """Counts what is looked at, and ends the listing beyond."""
    seen = list[None]()

    def look():
        seen.append(None)
        if len(seen) > most:
            raise Enough

    return seen, look


def test_whatever_is_looked_at_counts_also_what_is_left_out(tmp_path):
    for name in ("directory", "directory/below"):
        (tmp_path / name).mkdir()
    for name in ("not wanted", "directory/not wanted", temporary_path("/a", 7, 0, 1)[1:]):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("directory")
    seen, look = looking(100)

    assert list(list_source(files(tmp_path), "/", Selection(("wanted",)), look, anywhere)) == []
    assert len(seen) == 7


def test_links_that_make_paths_without_end_come_to_an_end(tmp_path):
    """Of 30 directories each has two links to the next one: 2 to the power of 30 paths."""
    for number in range(30):
        (tmp_path / str(number)).mkdir()
        for name in ("left", "right"):
            (tmp_path / str(number) / name).symlink_to(f"../{number + 1}")
    _, look = looking(1000)

    with pytest.raises(Enough):
        list(list_source(files(tmp_path), "/0", Selection(("nothing",), Links.FOLLOW), look, anywhere))
