"""What the registry may say about a host, per protocol.

These models are read by every process, so nothing here imports a backend or paramiko.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from data_mover.protocols.web import Web
from data_mover.secrets import SecretReference, privacy_mistake
from data_mover.urls import Url

Role = Literal["source", "destination"]

#: no host that is worth waiting for writes to its disk, or reads from it, at a lower rate than this
SLOWEST_BYTES_PER_SECOND = 10 * 10**6

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
#: those of the protocol itself, and those that have keys of their own
_OWN_FIELDS = (
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "host",
    "if-range",
    "range",
)
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: how the files begin that are for others: one line as in authorized_keys, or several in another format
_PUBLIC_KEYS = (b"ssh-", b"ecdsa-", b"sk-", b"---- BEGIN SSH2 PUBLIC KEY", b"-----BEGIN PUBLIC KEY")
HOST_KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


def _bandwidth(value: Any) -> Any:
    """Bytes per second from text like `20MB/s`."""
    amount, _, second = value.rpartition("/") if isinstance(value, str) else ("", "", "")
    count = _bytes(amount)
    if count is None or second.strip() != "s":
        raise ValueError('must be text like "20MB/s" or "512KiB/s"')
    return count


def _size(value: Any) -> Any:
    """Bytes from text like `20MB`."""
    count = _bytes(value) if isinstance(value, str) else None
    if count is None:
        raise ValueError('must be text like "20MB" or "512KiB"')
    return count


def _bytes(text: str) -> int | None:
    match = _AMOUNT.fullmatch(text)
    unit = _UNITS.get(match[2].upper()) if match else None
    return int(float(match[1]) * unit) if match and unit else None


def _file_mode(value: Any) -> Any:
    """Permission bits from octal text like `0644`, or from a TOML octal like `0o644`."""
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
    mistake = secret.mistake()
    if mistake:
        raise ValueError(mistake)
    return secret


def _beside_the_registry(value: Path, info: ValidationInfo) -> Path:
    """A path relative to the registry's own directory, which the registry gives as context `directory`."""
    directory: Path = (info.context or {}).get("directory", Path.cwd())
    return directory / value.expanduser()


def _private_key_file(value: Path) -> Path:
    if _is_public_key(value):
        raise ValueError(
            f"{value} is a public key; name the file of the private one, which ssh-keygen leaves beside it"
        )
    mistake = privacy_mistake(value)
    if mistake:
        raise ValueError(mistake)
    return value


def _is_public_key(path: Path) -> bool:
    """A file that cannot be read is left to who has to read it."""
    try:
        beginning = path.read_bytes() if path.is_file() else b""
    except OSError:
        return False
    return beginning.startswith(_PUBLIC_KEYS)


def _absolute_root(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError("must be an absolute path without ..")
    return value.rstrip("/") or "/"


def _host_keys(value: Any) -> Any:
    """A tuple of `type base64` lines from one line or a list of them; comments behind the key are dropped."""
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, Iterable):
        raise ValueError("must be a public key line, or a list of them")
    return tuple(_host_key(line) for line in lines)


def _host_key(line: Any) -> str:
    words = line.split() if isinstance(line, str) else []
    if len(words) < 2 or words[0] not in HOST_KEY_TYPES:
        raise ValueError(f'must be a public key line like "ssh-ed25519 AAAA…", of type {", ".join(HOST_KEY_TYPES)}')
    return f"{words[0]} {words[1]}"


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


def _plain_address(value: str) -> str:
    if not value or re.search(r"[\s/@]", value):
        raise ValueError("must be a host name or an IP address alone; username and port have keys of their own")
    return value.strip("[]")


Bandwidth = Annotated[int, BeforeValidator(_bandwidth), Field(gt=0)]
Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
FileMode = Annotated[int, BeforeValidator(_file_mode)]
Secret = Annotated[SecretReference, BeforeValidator(_secret)]
Root = Annotated[str, AfterValidator(_absolute_root)]
HostKeys = Annotated[tuple[str, ...], BeforeValidator(_host_keys)]
SiblingPath = Annotated[Path, AfterValidator(_beside_the_registry)]
PrivateKeyPath = Annotated[Path, AfterValidator(_beside_the_registry), AfterValidator(_private_key_file)]
ReadablePath = Annotated[Path, AfterValidator(_beside_the_registry), AfterValidator(_readable_file)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class HostOptions(BaseModel):
    """What every host has. Times are in seconds, bandwidth is in bytes a second for each transfer."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    protocol: str
    description: str = ""
    #: nothing outside of it is read or written; callers' paths are below it
    root: Root
    roles: tuple[Role, ...] = Field(min_length=1)
    #: how many transfers may run at a time that read from the host or write to it
    max_transfers: int = Field(default=4, ge=1, le=1000)
    bandwidth: Bandwidth | None = None
    connect_timeout_seconds: Seconds = 10
    #: a transfer in which nothing moves for so long is stalled
    idle_timeout_seconds: Seconds = 60
    #: how files are proven: by SHA-256 in the cheapest way, by reading back whatever it costs, or only by size
    verify: Literal["sha256", "sha256-readback", "size"] = "sha256"
    #: the most channels that one file may use; this release uses one
    streams: int = Field(default=1, ge=1, le=16)
    file_mode: FileMode = 0o644
    directory_mode: FileMode = 0o755
    #: what to do where a host cannot replace a file atomically: fail, or put the old file aside meanwhile
    replace: Literal["atomic", "swap"] = "atomic"

    def secrets(self) -> Iterator[tuple[str, SecretReference]]:
        """Where its secrets are, each with its key in the registry: `password`, `headers.X-Api-Key`."""
        for key, value in self:
            for name, secret in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(secret, SecretReference):
                    yield f"{key}.{name}".rstrip("."), secret

    def patience_seconds(self, size_bytes: int) -> float:
        """How long the host may be silent while it brings so many bytes to disk, or computes their digest."""
        return self.idle_timeout_seconds + size_bytes / SLOWEST_BYTES_PER_SECOND


class LocalOptions(HostOptions):
    """A directory that the workers see as their own; `root` may be relative to the registry."""

    protocol: Literal["local"]

    @model_validator(mode="before")
    @classmethod
    def _root_beside_the_registry(cls, data: Any, info: ValidationInfo) -> Any:
        root = data.get("root") if isinstance(data, dict) else None
        if isinstance(root, str) and root and not root.startswith("/"):
            directory: Path = (info.context or {}).get("directory", Path.cwd())
            return {**data, "root": str((directory / root).resolve())}
        return data


class NetworkAddress(BaseModel):
    """Where a server listens."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    address: Annotated[str, AfterValidator(_plain_address)]
    port: int = Field(ge=1, le=65535)
    connect_timeout_seconds: Seconds = 10


class SshAddress(NetworkAddress):
    """Where an SSH server listens: all that it takes to ask it for its key."""

    port: int = Field(default=22, ge=1, le=65535)


class SshOptions(SshAddress, HostOptions):
    """A host that is reached over SSH: `sftp` or `scp`."""

    protocol: Literal["sftp", "scp"]
    username: str = Field(min_length=1)
    key_file: PrivateKeyPath | None = None
    key_passphrase: Secret | None = None
    password: Secret | None = None
    #: offer the keys of the user's ssh-agent
    allow_agent: bool = False
    host_key: HostKeys = ()
    known_hosts: SiblingPath | None = None

    @model_validator(mode="after")
    def _can_log_in(self) -> "SshOptions":
        if not (self.key_file or self.password or self.allow_agent):
            raise ValueError("needs key_file or password (password = env:NAME or file:/path)")
        return self

    @model_validator(mode="after")
    def _pins_the_host(self) -> "SshOptions":
        if bool(self.host_key) == bool(self.known_hosts):
            raise ValueError("needs host_key or known_hosts, one of them: a host whose key is not known is refused")
        return self


class S3Options(HostOptions):
    """A bucket of an object store; `root` is the prefix of its keys."""

    protocol: Literal["s3"]
    endpoint: StoreUrl
    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")
    region: str = Field(default="us-east-1", min_length=1)
    access_key: Secret
    secret_key: Secret
    #: certificates of authorities to trust, in the place of Mozilla's list
    ca_file: ReadablePath | None = None


class HttpLogin(BaseModel):
    """Who asks for something over HTTP: nobody, or whoever the registry names in one of two ways."""

    bearer: Secret | None = None
    username: str | None = None
    password: Secret | None = None

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password need each other")
        if self.bearer and self.password:
            raise ValueError("takes bearer, or username and password, but not both")
        return self


class WebdavOptions(HttpLogin, HostOptions):
    """A server that speaks WebDAV; `root` is the path of a collection there."""

    protocol: Literal["webdav"]
    endpoint: StoreUrl
    #: certificates to trust in the place of those that the system does
    ca_file: ReadablePath | None = None

    @model_validator(mode="after")
    def _keeps_the_login_secret(self) -> Self:
        if self.endpoint.startswith("http://") and (self.bearer or self.password):
            raise ValueError("sends no secret without TLS; take https")
        Url.parse(self.endpoint)
        return self

    @property
    def origin(self) -> str:
        """The endpoint in the one spelling of a Url."""
        return Url.parse(self.endpoint).origin


class WebOptions(HostOptions):
    """How the web is read. A web server is a source alone, and needs no login."""

    protocol: Literal["http", "https"]
    root: Root = "/"
    roles: tuple[Literal["source"]] = ("source",)
    #: how long a file may take as a whole
    total_timeout_seconds: float | None = Field(default=None, gt=0)
    #: in bytes
    max_size: Size | None = None
    #: whether the server may name the files
    content_disposition: bool = False
    #: certificates to trust in the place of those that the system does
    ca_file: ReadablePath | None = None
    #: to what else redirects may lead, which the registry knows
    _web: Web = PrivateAttr(default_factory=Web)

    @property
    def web(self) -> Web:
        return self._web

    def within(self, web: Web) -> Self:
        """These options, where redirects may lead to the sites of a web."""
        options = self.model_copy()
        options._web = web
        return options


class HttpOptions(HttpLogin, WebOptions, NetworkAddress):
    """A web server. Its login is sent to it alone, and never in clear."""

    cookie: Secret | None = None
    #: further fields of each request, by their names
    headers: dict[str, Secret] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _usual_port(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {"port": 80 if data.get("protocol") == "http" else 443, **data}
        return data

    @model_validator(mode="after")
    def _keeps_the_login_secret(self) -> Self:
        if self.protocol == "http" and (self.bearer or self.password or self.cookie or self.headers):
            raise ValueError("sends no secret without TLS; take https")
        return self

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        mistaken = [name for name in self.headers if not _FIELD_NAME.fullmatch(name) or name.lower() in _OWN_FIELDS]
        if mistaken:
            raise ValueError(f"headers cannot be set by these names: {', '.join(mistaken)}")
        Url.parse(self.origin)
        return self

    @property
    def origin(self) -> str:
        """Scheme, host and port, as they stand in the one spelling of a Url."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return Url.parse(f"{self.protocol}://{host}:{self.port}").origin
