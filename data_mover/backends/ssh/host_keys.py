"""The keys of a host, as the registry or a known_hosts file pins them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry
from paramiko.ssh_exception import SSHException

from data_mover.backends.ssh.options import SshOptions
from data_mover.domain.errors import HostKeyMismatch
from data_mover.domain.secrets import writing_problem

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
    path = Path(str(options.known_hosts))
    if writing_problem(path):  # others may have got access to it since the registry was read
        raise HostKeyMismatch(f"{host}: its known_hosts file can be changed by others")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HostKeyMismatch(f"{host}: its known_hosts file cannot be read") from error
    known, revoked = [], set()
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["@revoked"]:
            revoked.update(_revoked_for({name, options.address}, words[1:]))
        elif not line.strip().startswith(("@", "#")):  # keys of certificate authorities are not accepted
            known += _keys_for(name, _entry(words))
    return tuple(key for key in known if key not in revoked)


def _entry(words: Sequence[str]) -> HostKeyEntry | None:
    """Return the entry of a line, or None for a line that cannot be parsed, which is ignored."""
    try:
        return HostKeyEntry.from_line(" ".join(words))
    except SSHException:
        return None


def _keys_for(name: str, entry: HostKeyEntry | None) -> list[str]:
    """Return the key of the entry, if the entry has this exact name, hashed or not."""
    if entry is None:
        return []
    keys = paramiko.HostKeys()
    for each in entry.hostnames:
        keys.add(each, entry.key.get_name(), entry.key)
    return [public_line(key) for key in (keys.lookup(name) or {}).values()]


def _revoked_for(names: Iterable[str], words: Sequence[str]) -> list[str]:
    """Return the key of a line, if it has one of the names, or a pattern that matches one."""
    entry = _entry(words)
    if entry is None:
        return []
    by_pattern = [public_line(entry.key)] if any(_matches(entry.hostnames, name) for name in names) else []
    return by_pattern + [key for name in names for key in _keys_for(name, entry)]


def _matches(patterns: Sequence[str], name: str) -> bool:
    """Whether one of OpenSSH's patterns is the name's, and none with a `!`."""
    matching = [each for each in patterns if _pattern(each.removeprefix("!")).fullmatch(name)]
    return bool(matching) and not any(each.startswith("!") for each in matching)


def _pattern(text: str) -> re.Pattern[str]:
    """`*` stands for any characters, `?` for one."""
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.IGNORECASE)
