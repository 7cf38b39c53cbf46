"""The keys of a host, as the registry or a known_hosts file pins them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry
from paramiko.ssh_exception import SSHException

from data_mover.backends.ssh.options import SshOptions
from data_mover.domain.errors import HostKeyMismatch

#: an RSA key signs by these; `ssh-rsa` itself is SHA-1
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


@dataclass(frozen=True)
class PinnedKeys:
    """The pinned keys of a host: lines of type and base64, at least one."""

    lines: tuple[str, ...]

    @classmethod
    def of(cls, host: str, options: SshOptions) -> "PinnedKeys":
        """Return the pinned keys. Raises HostKeyMismatch if there are none."""
        lines = options.host_key or _known_hosts(host, options)
        if not lines:
            raise HostKeyMismatch(f"{host} is not in its known_hosts file")
        return cls(lines)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms to request from the host: a key of another type could only be refused."""
        return algorithms(line.split()[0] for line in self.lines)

    def __contains__(self, key: paramiko.PKey) -> bool:
        return public_line(key) in self.lines


def algorithms(types: Iterable[str]) -> tuple[str, ...]:
    """Return the signature algorithms of keys of these types, in the same order."""
    return tuple(dict.fromkeys(name for each in types for name in _ALGORITHMS.get(each, (each,))))


def public_line(key: paramiko.PKey) -> str:
    """Return the key as the registry pins it: type and base64."""
    return f"{key.get_name()} {key.get_base64()}"


def _known_hosts(host: str, options: SshOptions) -> tuple[str, ...]:
    """Return every key that the file has for the host, several of one type included, without revoked ones."""
    name = options.address if options.port == 22 else f"[{options.address}]:{options.port}"
    try:
        text = Path(str(options.known_hosts)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HostKeyMismatch(f"{host}: its known_hosts file cannot be read") from error
    known, revoked = [], set()
    for line in text.splitlines():
        marker, _, rest = line.strip().partition(" ")
        if marker == "@revoked":
            revoked.update(_keys_for(name, rest))
        elif not line.strip().startswith(("@", "#")):  # keys of certificate authorities are not accepted
            known += _keys_for(name, line)
    return tuple(key for key in known if key not in revoked)


def _keys_for(name: str, line: str) -> list[str]:
    """Return the keys of the line, if they are the host's; a line that cannot be parsed is ignored."""
    try:
        entry = HostKeyEntry.from_line(line)
    except SSHException:
        return []
    if entry is None:
        return []
    keys = paramiko.HostKeys()
    for each in entry.hostnames:
        keys.add(each, entry.key.get_name(), entry.key)
    return [public_line(key) for key in (keys.lookup(name) or {}).values()]
