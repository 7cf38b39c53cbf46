"""The options of a host in the registry.

These models are read by every process, so nothing here imports a backend or paramiko.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
)

from data_mover.domain.secrets import SecretReference, writing_problem

Role = Literal["source", "destination"]

#: the lowest rate at which a host is expected to write to its disk, or to read from it
SLOWEST_BYTES_PER_SECOND = 10 * 10**6

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)}
_UNITS |= {f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def _bandwidth(value: Any) -> Any:
    """Return bytes per second from text like `20MB/s`."""
    amount, _, second = value.rpartition("/") if isinstance(value, str) else ("", "", "")
    count = _bytes(amount)
    if count is None or second.strip() != "s":
        raise ValueError('must be text like "20MB/s" or "512KiB/s"')
    return count


def _size(value: Any) -> Any:
    """Return bytes from text like `20MB`."""
    count = _bytes(value) if isinstance(value, str) else None
    if count is None:
        raise ValueError('must be text like "20MB" or "512KiB"')
    return count


def _bytes(text: str) -> int | None:
    match = _AMOUNT.fullmatch(text)
    unit = _UNITS.get(match[2].upper()) if match else None
    return int(float(match[1]) * unit) if match and unit else None


def _file_mode(value: Any) -> Any:
    """Return permission bits from octal text like `0644`, or from a TOML octal like `0o644`."""
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    raise ValueError('must be octal text like "0644"')


def _secret(value: Any) -> Any:
    if isinstance(value, SecretReference):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text like env:NAME or file:/path")
    secret = SecretReference.parse(value)
    problem = secret.problem()
    if problem:
        raise ValueError(problem)
    return secret


def _beside_the_registry(value: Path, info: ValidationInfo) -> Path:
    """Resolve a path relative to the registry's own directory, which the registry gives as context `directory`."""
    directory: Path = (info.context or {}).get("directory", Path.cwd())
    return directory / value.expanduser()


def _absolute_root(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError("must be an absolute path without ..")
    return value.rstrip("/") or "/"


def _store_url(value: str) -> str:
    parts = urlsplit(value)
    plain = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in value or value.rstrip("/") != plain:
        raise ValueError('must be a URL like "https://store.example.org", without a path or a user')
    return value.rstrip("/")


def _readable_file(value: Path) -> Path:
    if not os.access(value, os.R_OK):
        raise ValueError(f"{value} cannot be read")
    return value


def _unchanged_by_others(value: Path) -> Path:
    """Check a file of keys to trust: whoever can write it can impersonate a host."""
    if problem := writing_problem(value):
        raise ValueError(problem)
    return value


def _plain_address(value: str) -> str:
    if not value or re.search(r"[\s/@]", value):
        raise ValueError("must be a host name or an IP address alone; username and port have keys of their own")
    return value.strip("[]")


Bandwidth = Annotated[int, BeforeValidator(_bandwidth), Field(gt=0)]
Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
FileMode = Annotated[int, BeforeValidator(_file_mode)]
Secret = Annotated[SecretReference, BeforeValidator(_secret)]
Root = Annotated[str, AfterValidator(_absolute_root)]
PinsPath = Annotated[Path, AfterValidator(_beside_the_registry), AfterValidator(_unchanged_by_others)]
ReadablePath = Annotated[PinsPath, AfterValidator(_readable_file)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class HostOptions(BaseModel):
    """The options of every host. Times are in seconds, bandwidth is in bytes a second for each transfer."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    #: `sftp`, `scp`, `local`, `s3`, `webdav`, or for a web server `https` or `http`
    protocol: str
    #: for people
    description: str = ""
    #: moves read and write nothing outside of it; of a `local` host, it may be relative to the registry
    root: Root
    #: `["source"]`, `["destination"]` or both
    roles: tuple[Role, ...] = Field(min_length=1)
    #: how many moves may read from the host or write to it at a time
    max_transfers: int = Field(default=4, ge=1, le=1000)
    #: the limit of each transfer, like `"20MB/s"` or `"512KiB/s"`
    bandwidth: Bandwidth | None = None
    #: for finding its address and connecting, and again for each step of the login
    connect_timeout_seconds: Seconds = 10
    #: a transfer in which nothing moves for so long ends; while the host syncs a file or computes its checksum it
    #: has a second more for each 10 MB
    idle_timeout_seconds: Seconds = 60
    #: a transfer that is slower than this for `idle_timeout_seconds` ends as `stalled`, unless `bandwidth` slows
    #: it down that far; so does a listing with fewer entries than one in 5 s
    min_rate: Bandwidth = 1000
    #: how files are proven: `"sha256"` by a command on the host or by reading back, whichever is cheaper;
    #: `"sha256-readback"` always by reading back; `"size"` for a host whose files cannot be read again
    verify: Literal["sha256", "sha256-readback", "size"] = "sha256"
    #: the most channels of one SFTP connection that one large file is sent on, and the most parts of a file that are
    #: sent to an `s3` host at the same time. More than one are used where that makes it faster: while an SFTP host is
    #: so far away that a channel's window limits the rate, and while a store takes each part within a second. Small
    #: files share up to four channels while an SFTP host syncs slowly. An OpenSSH server allows 10 channels in a
    #: connection (`MaxSessions`); one is for commands
    streams: int = Field(default=8, ge=1, le=16)
    #: of the files that are made
    file_mode: FileMode = 0o644
    #: of the directories that are made
    directory_mode: FileMode = 0o755
    #: what to do if a host cannot replace a file atomically: `"atomic"` fails with `cannot-replace`; `"swap"` puts
    #: the old file aside, renames the new one, and removes the old one, or puts it back if the rename fails
    replace: Literal["atomic", "swap"] = "atomic"

    def secrets(self) -> Iterator[tuple[str, SecretReference]]:
        """Yield the references of its secrets, each with its key in the registry: `password`, `headers.X-Api-Key`."""
        for key, value in self:
            for name, secret in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(secret, SecretReference):
                    yield f"{key}.{name}".rstrip("."), secret

    def login_files(self) -> Iterator[tuple[str, Path]]:
        """Yield the files that a login reads, each with its key in the registry."""
        yield from ()

    def patience_seconds(self, size_bytes: int) -> float:
        """Return how long the host may be silent while it writes so many bytes to disk, or computes their digest."""
        return self.idle_timeout_seconds + size_bytes / SLOWEST_BYTES_PER_SECOND


class NetworkAddress(BaseModel):
    """Where a server listens."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    #: its name or IP address
    address: Annotated[str, AfterValidator(_plain_address)]
    #: the port that it listens on; of a web server 443, or 80 for `http`, unless given
    port: int = Field(ge=1, le=65535)
    connect_timeout_seconds: Seconds = 10
