"""The keys by which a host is known, as the registry or a known_hosts file pins them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import paramiko
from paramiko.ssh_exception import SSHException

from data_mover.backends.ssh.options import SshOptions
from data_mover.domain.errors import HostKeyMismatch

#: an RSA key signs by these; `ssh-rsa` itself is SHA-1
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


@dataclass(frozen=True)
class PinnedKeys:
    """Lines of type and base64; at least one."""

    lines: tuple[str, ...]

    @classmethod
    def of(cls, host: str, options: SshOptions) -> "PinnedKeys":
        """HostKeyMismatch if no key is known."""
        lines = options.host_key or _known_hosts(host, options)
        if not lines:
            raise HostKeyMismatch(f"{host} is not in its known_hosts file")
        return cls(lines)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What to ask the host for: a key of another type could only be refused."""
        return algorithms(line.split()[0] for line in self.lines)

    def __contains__(self, key: paramiko.PKey) -> bool:
        return public_line(key) in self.lines


def algorithms(types: Iterable[str]) -> tuple[str, ...]:
    """By what keys of these types sign, in the same order."""
    return tuple(dict.fromkeys(name for each in types for name in _ALGORITHMS.get(each, (each,))))


def public_line(key: paramiko.PKey) -> str:
    """The key as the registry pins it: type and base64."""
    return f"{key.get_name()} {key.get_base64()}"


def _known_hosts(host: str, options: SshOptions) -> tuple[str, ...]:
    name = options.address if options.port == 22 else f"[{options.address}]:{options.port}"
    try:
        entries: Mapping[str, paramiko.PKey] = paramiko.HostKeys(str(options.known_hosts)).lookup(name) or {}
    except (OSError, UnicodeDecodeError, SSHException) as error:
        raise HostKeyMismatch(f"{host}: its known_hosts file cannot be read") from error
    return tuple(map(public_line, entries.values()))
