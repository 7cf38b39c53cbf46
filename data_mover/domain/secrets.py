"""References to secrets: the registry and the ini say where a secret is, never what it is.

`env:NAME` reads an environment variable, `file:/path` a file that others must not be able to read, and
`credential:NAME` a file in systemd's `$CREDENTIALS_DIRECTORY`.
"""

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = ("env", "file", "credential")
WAY_OUT = "write env:NAME, file:/path or credential:NAME, never the secret itself"


@dataclass(frozen=True)
class SecretReference:
    """A reference to a secret. Its text may be shown; what `read()` returns may not."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "SecretReference":
        """Return the reference. Raises ValueError, without repeating `text`, if it is none: it may be the secret
        itself."""
        kind, colon, name = text.partition(":")
        if kind not in KINDS or not colon or not name:
            raise ValueError(WAY_OUT)
        if kind == "file" and not name.startswith("/"):
            raise ValueError("the path of a file: secret must be absolute")
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def read(self) -> str:
        """Return the secret, without a trailing newline. Raises LookupError with a sentence that names the
        reference."""
        if self.kind == "env":
            try:
                return os.environ[self.name]
            except KeyError:
                raise LookupError(f"the environment variable {self.name} is not set") from None
        try:
            return private_text(self._path()).rstrip("\r\n")
        except OSError as error:
            raise LookupError(f"{self}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise LookupError(f"{self}: is no text in UTF-8") from None

    def problem(self) -> str | None:
        """Return why an existing file cannot be used for secrets; a missing one is reported by `read`."""
        return None if self.kind == "env" else privacy_problem(self._path())

    def _path(self) -> Path:
        if self.kind == "credential":
            return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials")) / self.name
        return Path(self.name)


def privacy_problem(path: Path) -> str | None:
    """Return a sentence if others can read or change the file at `path`, else None.

    systemd grants a unit its credentials by an ACL, whose mask shows as rights of a group.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if mode & (0o027 if _is_credential(path) else 0o077):
        return f"{path} can be read by others; run: chmod 600 {path}"
    return writing_problem(path)


def writing_problem(path: Path) -> str | None:
    """Return a sentence if others can change the file at `path`, by it, a link to it or their directories, else None.

    Its owner must be root or this user. Root reads the files of services, too: it accepts the directory's owner.
    """
    try:
        path.stat()  # raises where links lead in a circle
        for each, status in _way_to(path.absolute()):
            if _others_may_write(status):
                return f"{each} can be written by others; run: chmod go-w {each}"
            if status.st_uid not in _trusted_owners(path):
                own = pwd.getpwuid(os.geteuid()).pw_name
                return f"{each} belongs to another user, who can change it; run: chown {own} {each}"
    except OSError:
        return None
    return None


def _is_credential(path: Path) -> bool:
    homes = {"/run/credentials", os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials")}
    return any(path.is_relative_to(home) for home in homes)


def _way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the file and each link on the way to it, each after its directory."""
    while True:
        yield path.parent, path.parent.stat()
        yield path, path.lstat()
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def _trusted_owners(path: Path) -> set[int]:
    user = os.geteuid()
    return {0, user} if user else {0, path.absolute().parent.stat().st_uid}


def _others_may_write(status: os.stat_result) -> bool:
    """Whether others may write. A sticky directory prevents others from replacing a file; a group with only the owner
    does not count. A link has no mode of its own."""
    if stat.S_ISLNK(status.st_mode):
        return False
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return False
    return bool(status.st_mode & 0o002 or (status.st_mode & 0o020 and not _is_own_group(status)))


def _is_own_group(status: os.stat_result) -> bool:
    """Whether the group is the owner's by its name, and nobody else is in it: by `gr_mem`, or by having it as primary
    group, which not every user database lists."""
    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    members = {*group.gr_mem, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == group.gr_gid)}
    return owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name and not members - {owner.pw_name}


def private_text(path: Path) -> str:
    """Return the text of a private file. Raises PermissionError if others can read it, OSError as `open` does."""
    problem = privacy_problem(path)
    if problem:
        raise PermissionError(13, problem)
    return path.read_text(encoding="utf-8")
