"""The options of a host that is reached over SSH."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_validator,
)

from data_mover.backends.options import HostOptions, NetworkAddress, PinsPath, Secret, _beside_the_registry
from data_mover.domain.secrets import privacy_problem

#: how files of public keys begin: one line as in authorized_keys, or several in another format
_PUBLIC_KEYS = (b"ssh-", b"ecdsa-", b"sk-", b"---- BEGIN SSH2 PUBLIC KEY", b"-----BEGIN PUBLIC KEY")


HOST_KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


def _private_key_file(value: Path) -> Path:
    if _is_missing(value):
        raise ValueError(f"{value} is not there")
    if _is_public_key(value):
        raise ValueError(
            f"{value} is a public key; name the file of the private one, which ssh-keygen leaves beside it"
        )
    problem = privacy_problem(value)
    if problem:
        raise ValueError(problem)
    return value


def _is_missing(path: Path) -> bool:
    """Whether the file is missing. False in a directory that this process cannot search: the reader reports it."""
    try:
        return not path.exists()
    except OSError:
        return False


def _is_public_key(path: Path) -> bool:
    """Whether the file has a public key. False if it cannot be read: the reader reports it."""
    try:
        beginning = path.read_bytes() if path.is_file() else b""
    except OSError:
        return False
    return beginning.startswith(_PUBLIC_KEYS)


def _host_keys(value: Any) -> Any:
    """Return a tuple of `type base64` lines from one line or a list of them; comments behind the key are dropped."""
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, Iterable):
        raise ValueError("must be a public key line, or a list of them")
    return tuple(_host_key(line) for line in lines)


def _host_key(line: Any) -> str:
    words = line.split() if isinstance(line, str) else []
    if len(words) < 2 or words[0] not in HOST_KEY_TYPES:
        raise ValueError(f'must be a public key line like "ssh-ed25519 AAAA…", of type {", ".join(HOST_KEY_TYPES)}')
    return f"{words[0]} {words[1]}"


HostKeys = Annotated[tuple[str, ...], BeforeValidator(_host_keys)]


PrivateKeyPath = Annotated[Path, AfterValidator(_beside_the_registry), AfterValidator(_private_key_file)]


class SshAddress(NetworkAddress):
    """The address of an SSH server, which is enough to fetch its key."""

    #: the port that it listens on
    port: int = Field(default=22, ge=1, le=65535)


class SshOptions(SshAddress, HostOptions):
    """A host that is reached over SSH: `sftp` or `scp`."""

    protocol: Literal["sftp", "scp"]
    #: who logs in
    username: str = Field(min_length=1)
    #: a private key that nobody else may read
    key_file: PrivateKeyPath | None = None
    #: where the passphrase of the key is
    key_passphrase: Secret | None = None
    #: where the password is: `env:NAME`, `file:/path` or `credential:NAME`
    password: Secret | None = None
    #: offer the keys of an ssh-agent
    allow_agent: bool = False
    #: the host's public key, `"ssh-ed25519 AAAA…"`, or a list of them; or else `known_hosts`
    host_key: HostKeys = ()
    #: a file in OpenSSH's format. A host whose key is not known is refused, and so is a key that a line `@revoked`
    #: names for it, by its name, hashed or not, or by a pattern like `*.example.org` or `*`; other lines need the
    #: exact name. `@cert-authority` is not supported, and such lines are ignored
    known_hosts: PinsPath | None = None

    def login_files(self) -> Iterator[tuple[str, Path]]:
        if self.key_file:
            yield "key_file", self.key_file

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
