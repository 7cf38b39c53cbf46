"""The check of the machine that a deployment runs on: its software, its disks, its clock, and the user of the check."""

import os
import pwd
import pyexpat
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from sqlalchemy.engine import URL

from data_mover.config.settings import Settings
from data_mover.domain.errors import ConfigurationError
from data_mover.domain.findings import Finding, Lacking, find
from data_mover.domain.secrets import writing_problem
from data_mover.store.database import Database, read_now_ms

#: RETURNING, which came with this version of SQLite, is in many statements
OLDEST_SQLITE = (3, 35, 0)
#: a state directory with less room cannot hold the files of unknown length that are moved
LEAST_FREE_BYTES = 10**9
#: a larger difference between the clocks confuses whoever compares logs with what `check` returns
MOST_SKEW_SECONDS = 2.0
#: file systems over a network: SQLite's locks do not hold there, and its WAL needs memory that processes share
NETWORK_FILE_SYSTEMS = {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"}
NETWORK_FILE_SYSTEMS |= {"fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "ocfs2", "orangefs"}

MOUNTS = Path("/proc/self/mountinfo")


def check_software() -> Iterator[Finding]:
    """Yield the findings on Python and the packages that this process would run with."""
    yield find("python", partial(look_at_python, sqlite3.sqlite_version_info))
    yield find("packages", look_at_packages)


def check_machine(ini: str, settings: Settings) -> Iterator[Finding]:
    """Yield the findings on files, disks and the clock."""
    yield find("user", partial(_look_at_owner, ini, settings.state_dir))
    yield find("files", partial(_look_at_modes, ini, settings.state_dir))
    yield find("room", partial(look_at_room, settings.state_dir, LEAST_FREE_BYTES))
    try:
        url = settings.database_url()
    except ConfigurationError:
        return  # check_configuration has reported it
    if url.get_backend_name() == "sqlite":
        yield find("sqlite", partial(look_at_file_system, Path(str(url.database)), MOUNTS))
    if url.get_backend_name() != "sqlite" or Path(str(url.database)).exists():
        yield find("clock", partial(_look_at_clock, url))


def look_at_python(sqlite_version: tuple[int, ...]) -> str:
    sqlite, python = ".".join(map(str, sqlite_version)), ".".join(map(str, sys.version_info[:3]))
    if sqlite_version < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise Lacking(f"{sys.executable} has SQLite {sqlite}, and {oldest} is needed; take another Python.")
    return f"{python} ({sys.executable}), SQLite {sqlite}, expat {'.'.join(map(str, pyexpat.version_info))}"


def look_at_packages() -> str:
    """Check that every package has a version that Data Mover works with."""
    needed = [Requirement(text) for text in requires("data_mover") or ()]
    wrong = [problem for each in needed if (problem := _problem_of(each))]
    if wrong:
        raise Lacking("\n".join(wrong) + "\nInstall Data Mover again, with the pins of versions.cfg.")
    return f"Data Mover {version('data_mover')}; every package that it needs has a version that it works with"


def _problem_of(needed: Requirement) -> str | None:
    """Return what is wrong with a package; those of an extra may be missing."""
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        is_required = needed.marker is None or needed.marker.evaluate({"extra": ""})
        return f"{needed.name} is not installed." if is_required else None
    fits = needed.specifier.contains(found, prereleases=True)
    return None if fits else f"{needed.name} is {found}, and Data Mover needs {needed.specifier}."


def _look_at_owner(ini: str, state_dir: Path) -> str:
    me = _name(os.geteuid())
    if not state_dir.exists():
        return f"{me}; the processes of the service must run as the same user"
    owner = _name(state_dir.stat().st_uid)
    if owner != me:
        way_out = f"run: sudo -u {owner} data_mover -c {ini} doctor"
        raise Lacking(f"{state_dir} belongs to {owner}, and {me} may read and write other files than that; {way_out}")
    return f"{me}, to whom {state_dir} belongs"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _look_at_modes(ini: str, state_dir: Path) -> str:
    """Check the ini and the state directory; `check_configuration` checks what they name."""
    problems = [problem for problem in (writing_problem(Path(ini)), _openness(state_dir)) if problem]
    if problems:
        raise Lacking("\n".join(problems))
    return f"only their owner can change {ini} and enter {state_dir}"


def _openness(directory: Path) -> str | None:
    is_open = directory.exists() and directory.stat().st_mode & 0o077
    return f"{directory} can be entered by others; run: chmod 700 {directory}" if is_open else None


def look_at_room(state_dir: Path, least_bytes: int) -> str:
    """Check that the disk of the state directory has so many bytes left."""
    existing = next(each for each in (state_dir, *state_dir.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if free < least_bytes:
        raise Lacking(
            f"{free / 10**6:,.0f} MB are left on the disk of {state_dir}, less than {least_bytes / 10**6:,.0f} MB: "
            "moves of files of unknown length fail with state-dir-full.\n"
            "Free some, or let data_mover.state_dir name a larger disk."
        )
    return f"{free / 10**9:,.1f} GB are left on the disk of {state_dir}"


def look_at_file_system(database: Path, mounts: Path) -> str:
    """Check that the file of SQLite is on a disk of this machine. `mounts` is like /proc/self/mountinfo."""
    if not mounts.exists():
        return f"{database}: which file system it is on is known on Linux only"
    point, kind = _mount_of(database.absolute().parent.resolve(), mounts.read_text("utf-8"))
    if kind in NETWORK_FILE_SYSTEMS:
        raise Lacking(
            f"{database} is on {point}, a file system over a network ({kind}), where SQLite's locks do not hold.\n"
            "Put it on a disk of this machine, or take PostgreSQL: docs/how-to/postgresql.md."
        )
    return f"{database} is on {point} ({kind}), a file system of this machine"


def _mount_of(directory: Path, mounts: str) -> tuple[Path, str]:
    """Return the mount point of the directory, and the type of its file system; of several at one point, the last."""
    found = Path("/"), "unknown"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].encode().decode("unicode_escape"))  # a space is \040
        if directory.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
            found = point, after.split()[0]
    return found


def _look_at_clock(url: URL) -> str:
    database = Database(url)
    try:
        with database.reading() as session:
            before = time.time()
            theirs = read_now_ms(session) / 1000
            skew = theirs - (before + time.time()) / 2
    finally:
        database.close()
    if abs(skew) > MOST_SKEW_SECONDS:
        ahead = "ahead of" if skew > 0 else "behind"
        raise Lacking(
            f"The database's clock is {abs(skew):,.1f} s {ahead} that of this machine, so times in logs and answers "
            "differ, and tokens end too early or too late.\nSet both clocks by NTP (timedatectl set-ntp true)."
        )
    return f"the database's clock and that of this machine agree within {MOST_SKEW_SECONDS:g} s"
