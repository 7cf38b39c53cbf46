"""References to secrets: the registry and the ini say where a secret is, never what it is.

`env:NAME` reads an environment variable, `file:/path` a file that others must not be able to read, and
`credential:NAME` a file in systemd's `$CREDENTIALS_DIRECTORY`.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

KINDS = ("env", "file", "credential")
WAY_OUT = "write env:NAME, file:/path or credential:NAME, never the secret itself"


@dataclass(frozen=True)
class SecretReference:
    """Where a secret is to be found. Its text may be shown; what `read()` returns may not."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "SecretReference":
        """Raises ValueError, without repeating `text`, if it is not a reference: it may be the secret itself."""
        kind, colon, name = text.partition(":")
        if kind not in KINDS or not colon or not name:
            raise ValueError(WAY_OUT)
        if kind == "file" and not name.startswith("/"):
            raise ValueError("the path of a file: secret must be absolute")
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def read(self) -> str:
        """The secret, without a trailing newline. Raises LookupError with a sentence that names the reference."""
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
        """What keeps an existing file from being fit for secrets; one that is missing is reported by `read`."""
        return None if self.kind == "env" else privacy_problem(self._path())

    def _path(self) -> Path:
        if self.kind == "credential":
            return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials")) / self.name
        return Path(self.name)


def privacy_problem(path: Path) -> str | None:
    """A sentence if others can read the file at `path`, else None."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if stat.S_IMODE(mode) & 0o077:
        return f"{path} can be read by others; run: chmod 600 {path}"
    return None


def private_text(path: Path) -> str:
    """The text of a file that nobody else may read. Raises PermissionError if others can, OSError as `open` does."""
    problem = privacy_problem(path)
    if problem:
        raise PermissionError(13, problem)
    return path.read_text(encoding="utf-8")
