"""The check of a host that is reached over SSH: its address, its key, the login."""

import socket
from collections.abc import Sequence
from functools import partial
from getpass import getuser

from pydantic import ValidationError

from data_mover.backends.check import HostCheck
from data_mover.backends.ssh.connection import SshConnection, shown_key
from data_mover.backends.ssh.host_keys import PinnedKeys, algorithms, public_line
from data_mover.backends.ssh.options import HOST_KEY_TYPES, SshAddress, SshOptions
from data_mover.domain.errors import HostKeyMismatch, LoginRefused
from data_mover.domain.findings import Lacking, Step, advised

_COMPARE = """\
No login was sent. Have the host's owner confirm the fingerprint; only then write
into [hosts.{host}], instead of any other host_key or known_hosts:
host_key = "{line}"
"""


class SshCheck(HostCheck):
    """Checks a host. Sends no secret to one whose key is not the pinned one."""

    def reach(self) -> Sequence[Step]:
        address = self._address()
        if address is None:
            return ()
        return ("address", partial(_reach, address)), ("host key", partial(self._recognise, address))

    def log_in(self) -> Sequence[Step]:
        return [("login", partial(_log_in, self.host, self.options))] if isinstance(self.options, SshOptions) else ()

    def _address(self) -> SshAddress | None:
        """Return the address, even if the rest of the entry has problems; None if the address itself has."""
        if isinstance(self.options, SshOptions):
            return self.options
        try:
            return SshAddress.model_validate(self.table)
        except ValidationError:
            return None

    def _recognise(self, address: SshAddress) -> str:
        pinned = self._pinned()
        try:
            key = shown_key(self.host, address, pinned.algorithms if pinned else algorithms(HOST_KEY_TYPES))
        except HostKeyMismatch:
            key = shown_key(self.host, address, algorithms(HOST_KEY_TYPES))
        shown = f"{key.get_name()} {key.fingerprint}"
        if pinned and key in pinned:
            return f"{shown}, as pinned"
        difference = "not the key that is pinned" if pinned else "and no key is pinned that it could be compared with"
        raise Lacking(
            f"The host shows {shown}, {difference}.\n{_COMPARE.format(host=self.host, line=public_line(key)).rstrip()}"
        )

    def _pinned(self) -> PinnedKeys | None:
        """Return the pinned keys; None if the entry has problems, or the host is not in its known_hosts file."""
        if not isinstance(self.options, SshOptions):
            return None
        try:
            return PinnedKeys.of(self.host, self.options)
        except HostKeyMismatch:
            return None


def _reach(address: SshAddress) -> str:
    name, port = address.address, address.port
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Lacking(f"{name} has no IP address. Correct `address`, or the name server of this machine.") from error
    numbers = " and ".join(dict.fromkeys(str(each[4][0]) for each in found))
    try:
        socket.create_connection((name, port), timeout=address.connect_timeout_seconds).close()
    except OSError as error:
        why = f"no answer within {address.connect_timeout_seconds:g} s"
        why = why if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise Lacking(
            f"{name} is {numbers}, port {port}: {why}.\n"
            "See that the host is up, that `address` and `port` are right, and that no firewall is in the way."
        ) from error
    return f"{name} is {numbers}, and port {port} answers"


def _log_in(host: str, options: SshOptions) -> str:
    advice = (
        f"See that `username` is right, that the user {getuser()} can read what the registry names for the login,\n"
        "and that the host's owner lets it in: `ssh-keygen -y -f KEY_FILE` shows the line for authorized_keys there."
    )
    with advised(LoginRefused, advice):
        connection = SshConnection.open(host, options)
    connection.close()
    ways = {
        "key_file": f"key_file {options.key_file}",
        "allow_agent": "a key of the ssh-agent",
        "password": f"the password from {options.password}",
    }
    return f"as {options.username}, with {ways[connection.login]}"
