"""A folder of many files with names, permissions and times as people and programs give them."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

NAMES = [
    "plain {}",
    " space around {} ",
    "line\nbreak {}\n",
    "tab\tand\rreturn {}",
    "漢字 \N{KOALA} {}",
    "\N{LATIN SMALL LETTER E WITH ACUTE} {}",
    "e\N{COMBINING ACUTE ACCENT} {}",
    "-rf {}",
    "--help={}",
    "quote'\"` {}",
    "back\\slash {}\\",
    "100% %41%2e%2F {}",
    "dots {}...",
    "...{}",
    ".hidden {}",
    "~{}",
    "$(touch evil) {}",
    "*?[x] {}",
    "; & | <{}>",
    "host:{}",
    "#hash?query={}",
    "CASE {}",
    "case {}",
    "\x1b[31m{}\x7f",
    "{:x<255}",
    "{:é<129}",
]
SEGMENT_BYTES = 255

FILE_MODES = (0o644, 0o600, 0o755, 0o444, 0o664)
DIRECTORY_MODES = (0o755, 0o700, 0o775, 0o555)
FILES_IN_A_DIRECTORY = 100
#: the number of directories in a directory
BRANCHES = 3
#: every so many files there is one that takes longer
LARGE_EVERY, LARGE_BYTES = 500, 1_000_000
#: times of files, which SFTP reports in whole seconds
OLDEST, NEWEST = 500_000_000, 2_000_000_000


def make_odd_tree(folder: Path, files: int) -> None:
    """So many files in nested directories, and in each of these an empty one and links: to a file, to a directory, to
    itself and to nothing."""
    random_ = random.Random(files)
    directories = [folder]
    folder.mkdir()
    for number in range(files):
        if number % FILES_IN_A_DIRECTORY == 0:
            directories.append(directories[(len(directories) - 1) // BRANCHES] / odd_name(-len(directories)))
            _make_directory(directories[-1], number)
        size_bytes = LARGE_BYTES if number % LARGE_EVERY == LARGE_EVERY // 2 else random_.randrange(3000)
        file = directories[-1] / odd_name(number + 1)
        file.write_bytes(random_.randbytes(size_bytes))
        file.chmod(FILE_MODES[number % len(FILE_MODES)])
    for number, path in enumerate(_from_the_innermost(folder)):
        if path.is_dir():
            path.chmod(DIRECTORY_MODES[number % len(DIRECTORY_MODES)])
        at = random_.uniform(OLDEST, NEWEST)
        os.utime(path, (at, at))


def odd_name(number: int) -> str:
    """A name that no other number gives."""
    name = NAMES[number % len(NAMES)].format(number)
    while len(name.encode()) > SEGMENT_BYTES:
        name = name[:-1]
    return name


def _make_directory(path: Path, number: int) -> None:
    path.mkdir()
    (path / f"empty {odd_name(number)[:80]}").mkdir()
    links = {"to a file": odd_name(number + 1), "to a directory": "..", "to itself": "to itself", "to nothing": "-"}
    for name, target in links.items():
        (path / name).symlink_to(target)


def _from_the_innermost(folder: Path) -> Iterator[Path]:
    """Without the links."""
    for above, _, names in os.walk(folder, topdown=False):
        files = (Path(above, name) for name in names)
        yield from (path for path in files if not path.is_symlink())
        yield Path(above)
