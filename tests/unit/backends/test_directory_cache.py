"""What a connection remembers of directories."""

from data_mover.backends.directory_cache import MOST_DIRECTORIES, KnownDirectories


def test_what_is_forgotten_takes_with_it_what_is_below_and_nothing_else():
    known = KnownDirectories()
    for path in ("/", "/a", "/a/b", "/ab"):
        known.remember_there(path)
        known.remember_realpath(path, f"/root{path}")

    known.forget("/a")

    assert [path for path in ("/", "/a", "/a/b", "/ab") if known.is_there(path)] == ["/", "/ab"]
    assert [known.realpath(path) for path in ("/", "/a", "/a/b", "/ab")] == ["/root/", None, None, "/root/ab"]


def test_what_is_below_the_root_is_everything():
    known = KnownDirectories()
    known.remember_there("/a")

    known.forget("/")

    assert not known.is_there("/a")


def test_no_more_than_so_many_are_remembered():
    known = KnownDirectories()
    for number in range(2 * MOST_DIRECTORIES + 1):
        known.remember_there(f"/{number}")
        known.remember_realpath(f"/{number}", f"/root/{number}")

    assert sum(known.is_there(f"/{number}") for number in range(2 * MOST_DIRECTORIES + 1)) <= MOST_DIRECTORIES
    assert known.realpath(f"/{2 * MOST_DIRECTORIES}") == f"/root/{2 * MOST_DIRECTORIES}"
