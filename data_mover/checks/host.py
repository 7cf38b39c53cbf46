"""The check of a registered host: tries every step of a move on it; each that fails says what to do.

The check removes what it has written.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from getpass import getuser

from data_mover.backends import check_of, connect, writable
from data_mover.backends.api import Files, NewFile, Source
from data_mover.backends.check import HostCheck
from data_mover.backends.options import HostOptions
from data_mover.config.registry_file import HostEntry
from data_mover.domain.errors import CannotReplace, MoveFailure, PermissionRefused
from data_mover.domain.findings import Finding, Lacking, Step, advised, find, in_turn
from data_mover.domain.states import FileKind
from data_mover.transfer.names import temporary_path
from data_mover.transfer.verify import REMOTE_DIGEST_BYTES

PROBE_BYTES = 4096


def headline(entry: HostEntry) -> str:
    """Return the host and the user of the check: another user may read other keys, and enter other directories."""
    options = entry.options
    what = f"{options.protocol}, {' and '.join(options.roles)}" if options else "cannot be used yet"
    return f"{entry.name} ({what}), checked by the user {getuser()}"


def check_host(entry: HostEntry) -> Iterator[Finding]:
    """Yield the findings in order, up to the step without which the others cannot be tried."""
    for problem in entry.problems:
        yield Finding("registry", False, str(problem))
    check = check_of(entry.table.get("protocol"))(entry.name, entry.table, entry.options)
    if not (yield from in_turn(*check.reach())) or entry.options is None:
        return
    if (yield from in_turn(*check.log_in())):
        yield from _check_files(check, entry.options)


def check_briefly(entry: HostEntry) -> list[Finding]:
    """Return the findings that need somebody, or one that says that there are none."""
    findings = list(check_host(entry))
    failed = [
        replace(each, step="host", sentence=f"{entry.name}: {each.sentence}") for each in findings if not each.passed
    ]
    steps = f"{entry.name}: {len(findings)} steps of a move succeed; `hosts check {entry.name}` shows them"
    return failed or [Finding("host", True, steps)]


def _check_files(check: HostCheck, options: HostOptions) -> Iterator[Finding]:
    try:
        connected = connect(check.host, options)
    except MoveFailure as failure:
        yield Finding("root", False, f"{failure.reason}.\n{check.root_advice()}")
        return
    with connected:
        if connected.has_directories and not (yield from in_turn(("root", partial(_find_root, connected, check)))):
            return
        if "source" in options.roles:
            yield find("source", partial(_look_up, connected))
        if "destination" in options.roles:
            files = writable(connected)
            yield find("space", partial(_free_space, files))
            yield from _Probe(files).findings()


def _find_root(source: Source, check: HostCheck) -> str:
    with advised(MoveFailure, check.root_advice()):
        file_stat = source.stat("/")
    if file_stat is None or file_stat.kind is not FileKind.DIRECTORY:
        what = "There is no" if file_stat is None else "No directory is"
        raise Lacking(f"{what} {source.options.root} on the host.\n{check.root_advice()}")
    return f"{source.options.root} is a directory"


def _look_up(files: Source) -> str:
    """Check that names can be looked up, with a name that does not exist."""
    with advised(PermissionRefused, f"Let Data Mover enter {files.options.root} (permission x)."):
        files.stat(_probe_path())
    return "names below the root can be looked up; whether a file can be read is seen when it is moved"


def _free_space(files: Files) -> str:
    free = files.free_bytes("/")
    if free == 0:
        raise Lacking("There is none: the disk is full, or a quota is used up. Ask the host's owner for more.")
    if free is None:
        return "the host does not report it: a full disk is noticed when a file does not fit"
    return f"{free / 10**6:,.0f} MB free"


def _probe_path() -> str:
    return temporary_path("/probe", job_id=0, file_number=0, attempt=0)


class _Probe:
    """A file on which the operations of a move are tried, and that is removed in any case."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._options = files.options
        self._path, self._other_path = _probe_path(), _probe_path()
        self._content = secrets.token_bytes(PROBE_BYTES)

    def findings(self) -> list[Finding]:
        steps: list[Step] = [
            ("write", self._write),
            ("verify", self._verify),
            ("rename", self._rename),
            ("replace", self._replace),
        ]
        try:
            found = list(in_turn(*steps))
        finally:
            removed = find("delete", self._delete)
        return [*found, removed]

    def _write(self) -> str:
        with advised(PermissionRefused, f"Let Data Mover write in {self._options.root}, or correct `root`."):
            self._create()
        return f"a probe of {PROBE_BYTES} bytes: {self._path}"

    def _create(self) -> None:
        new_file = NewFile(PROBE_BYTES, self._options.file_mode, time.time())
        with self._files.create(self._path, new_file) as writer:
            writer.write(self._content)
            writer.commit()

    def _verify(self) -> str:
        if self._options.verify == "size":
            return "by size alone (size), as the registry says"
        advice = 'Let Data Mover read what it has written. Where it may not, `verify = "size"` proves sizes alone.'
        with advised(MoveFailure, advice), self._files.open(self._path) as reader:
            content = b"".join(reader.blocks())
        if content != self._content:
            raise Lacking("What was read back is not what was written: files cannot be proven there.")
        return self._way_of_proof()

    def _way_of_proof(self) -> str:
        if self._options.verify == "sha256-readback":
            return "by reading back (sha256-readback), as the registry says"
        if self._files.sha256(self._path) != hashlib.sha256(self._content).hexdigest():
            return "by reading back (sha256-readback): no command there computes the SHA-256"
        mebibytes = REMOTE_DIGEST_BYTES // 2**20
        return (
            f"from {mebibytes} MiB on by a command on the host (sha256-remote), else by reading back (sha256-readback)"
        )

    def _rename(self) -> str:
        self._files.rename(self._path, self._other_path)
        return "the probe has got another name"

    def _replace(self) -> str:
        self._create()
        try:
            self._files.replace(self._path, self._other_path)
        except CannotReplace as failure:
            if self._options.replace == "swap":
                return 'not atomically; the registry says replace = "swap": the old file aside, the new one in'
            raise Lacking(
                "The host cannot replace a file atomically, so that moves onto a file that exists fail.\n"
                'replace = "swap" puts the old file aside meanwhile: for a moment nothing has its name.'
            ) from failure
        return "atomically: a second probe has replaced the first"

    def _delete(self) -> str:
        try:
            self._remove(self._files)
        except MoveFailure:
            with advised(MoveFailure, f"Remove there what may be left: {self._path} and {self._other_path}"):
                self._remove_on_a_new_connection()
        return "nothing is left of the probe"

    def _remove_on_a_new_connection(self) -> None:
        with connect(self._files.host, self._options) as connected:
            self._remove(writable(connected))

    def _remove(self, files: Files) -> None:
        files.remove(self._path)
        files.remove(self._other_path)
