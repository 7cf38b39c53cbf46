"""The SSH connection that `sftp` and `scp` share: the pinned host key, the login, commands, and failures."""

import re
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

import paramiko
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import AuthenticationException, IncompatiblePeer, SSHException

from data_mover.backends.dns import resolved, why_unreachable
from data_mover.backends.logins import secret_of
from data_mover.backends.ssh.host_keys import PinnedKeys
from data_mover.backends.ssh.options import SshAddress, SshOptions
from data_mover.backends.ssh.transport import BoundedTransport
from data_mover.domain.errors import (
    ConnectionLost,
    HostKeyMismatch,
    HostUnreachable,
    LoginRefused,
    MoveFailure,
    Stalled,
)
from data_mover.domain.secrets import privacy_problem

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: AES-GCM first: it is about half as fast again as the default, and needs no MAC
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
#: how much a host may send before it must wait for us
WINDOW_BYTES = 2**24
#: how much a host may send before the login succeeds
GREETING_BYTES = 2**20
#: the most output of one of our commands
MAX_OUTPUT_BYTES = 64 * 1024
#: how long a command may take to end once there is nothing more to do for it
LEAVE_SECONDS = 1.0

#: computes the SHA-256 of its input as sha256sum does, with OpenSSL where Python has it
_PYTHON = (
    "import hashlib, sys; digest = hashlib.sha256(); "
    "[digest.update(block) for block in iter(lambda: sys.stdin.buffer.read(2**18), b'')]; "
    "print(digest.hexdigest() + '  -')"
)
#: the fastest that the host has: OpenSSL uses the processor's instructions; many a `sha256sum` is several times slower
_SHA256_COMMAND = f'{{ openssl dgst -sha256 -r 2>/dev/null || python3 -c "{_PYTHON}" 2>/dev/null || sha256sum; }}'
_SHA256_OUTPUT = re.compile(rb"([0-9a-f]{64}) [ *](?:-|\*?stdin)\n?")
_YES_NO = re.compile(rb"(?:yes|no)\n")


@dataclass(frozen=True)
class Output:
    """The output of a command. An exit status of -1 means that it is incomplete."""

    status: int
    text: bytes


class SshConnection:
    """A connection to a host whose key was verified, logged in."""

    def __init__(self, host: str, options: SshOptions, transport: paramiko.Transport, login: str) -> None:
        self.host = host
        self.options = options
        #: the registry's key for the login that succeeded: `key_file`, `allow_agent` or `password`
        self.login = login
        self._transport = transport
        self._runs_commands = True

    @classmethod
    def open(cls, host: str, options: SshOptions) -> Self:
        """Connect and log in. Raises HostUnreachable, HostKeyMismatch or LoginRefused."""
        pinned = PinnedKeys.of(host, options)
        with ExitStack() as undo:
            connected = undo.enter_context(closing(_socket(host, options)))
            transport = BoundedTransport(connected, WINDOW_BYTES)
            undo.callback(transport.close)
            if _exchange_keys(host, options, transport, pinned.algorithms) not in pinned:
                raise HostKeyMismatch(host)
            login = _log_in(host, options, transport)
            connected.left_bytes = None
            undo.pop_all()
        return cls(host, options, transport, login)

    def open_subsystem(self, name: str) -> paramiko.Channel:
        """Start a subsystem; return its channel, whose time-out is the idle time-out."""
        with self.mapping_errors(), self._bounded():
            channel = self._open_channel()
            channel.invoke_subsystem(name)
            return channel

    def start(self, command: str) -> paramiko.Channel:
        """Start a command; return its channel, whose time-out is the idle time-out."""
        with self.mapping_errors(), self._bounded():
            channel = self._open_channel()
            channel.exec_command(command.encode(errors="surrogateescape"))
            return channel

    def run(self, command: str, size_bytes: int = 0) -> Output:
        """Run a command to its end, without input, for at most the time that work on so many bytes may take.

        Raises ConnectionLost or Stalled if it does not end.
        """
        channel = self.start(command)
        with self.mapping_errors():
            try:
                channel.shutdown_write()
                return self._output(channel, self.options.patience_seconds(size_bytes))
            finally:
                channel.close()

    def end(self, channel: paramiko.Channel) -> None:
        """Wait shortly until a command whose input or output is complete ends by itself, and close its channel.

        When a command ends, Dropbear may close another channel that is just being opened.
        """
        with suppress(OSError, EOFError, SSHException):
            deadline = time.monotonic() + LEAVE_SECONDS
            channel.settimeout(LEAVE_SECONDS)
            channel.shutdown_write()
            while channel.recv(MAX_OUTPUT_BYTES) and time.monotonic() < deadline:
                pass
            channel.status_event.wait(max(0.0, deadline - time.monotonic()))
        with suppress(OSError, EOFError, SSHException):
            channel.close()

    @contextmanager
    def ending_refused(self, channel: paramiko.Channel) -> Iterator[None]:
        """End the channel of a command if the block raises."""
        try:
            yield
        except BaseException:
            self.end(channel)
            raise

    def sha256(self, path: str, size_bytes: int, first_bytes: int | None) -> str | None:
        """Return the SHA-256 of the file at the path on the host, or of its first bytes; None if no command computes
        it.

        The path is passed by a redirection: the commands would escape odd names in their output.
        """
        name = shlex.quote(path)
        if first_bytes in (None, size_bytes):
            match = self._answered_by(f"{_SHA256_COMMAND} < {name}", _SHA256_OUTPUT, size_bytes)
        else:
            match = self._answered_by(
                f"head -c {first_bytes} < {name} | {_SHA256_COMMAND}", _SHA256_OUTPUT, first_bytes
            )
        return match[1].decode() if match else None

    def may_write(self, directory: str) -> bool | None:
        """Return whether the login may create files in the directory at the path on the host; None if no command shows
        it."""
        name = shlex.quote(directory)
        match = self._answered_by(
            f"[ -d {name} ] && {{ [ -w {name} ] && [ -x {name} ] && echo yes || echo no; }}", _YES_NO
        )
        return match[0] == b"yes\n" if match else None

    @property
    def alive(self) -> bool:
        """Whether the connection is still up, as far as paramiko knows."""
        return self._transport.is_active()

    @contextmanager
    def mapping_errors(self, what: str = "") -> Iterator[None]:
        """Map errors of paramiko and the socket to failures that name the host."""
        try:
            yield
        except (OSError, EOFError, SSHException) as error:
            raise self.failure(error, what) from error

    def failure(self, error: BaseException, what: str = "") -> MoveFailure:
        """Return the failure of an error of paramiko or of the socket."""
        name = f"{self.host}: {what}" if what else self.host
        return Stalled(name) if isinstance(error, TimeoutError) else ConnectionLost(name)

    def abort(self) -> None:
        """End whatever blocks; any thread may call it. Does not close the descriptor, which could be reused at once."""
        with suppress(OSError):
            self._transport.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._transport.close()
        self._transport.sock.close()

    def _answered_by(self, command: str, answer: re.Pattern[bytes], size_bytes: int = 0) -> re.Match[bytes] | None:
        """Return the output of a command, or None. A host that once gave no valid output is not asked again."""
        if not self._runs_commands:
            return None
        try:
            output = self.run(command, size_bytes)
        except (ConnectionLost, Stalled):
            if not self.alive:
                raise
            output = Output(-1, b"")
        match = answer.fullmatch(output.text) if output.status == 0 else None
        self._runs_commands = match is not None
        return match

    def _output(self, channel: paramiko.Channel, timeout_seconds: float) -> Output:
        deadline = time.monotonic() + timeout_seconds
        channel.settimeout(timeout_seconds)
        text = bytearray()
        while piece := channel.recv(MAX_OUTPUT_BYTES):
            text += piece
            if len(text) > MAX_OUTPUT_BYTES:
                return Output(-1, b"")
            channel.settimeout(max(0.0, deadline - time.monotonic()))
        if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        if channel.exit_status == -1:  # the connection broke, or the host killed the command
            raise EOFError
        return Output(channel.exit_status, bytes(text))

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """End the connection if the block takes too long: paramiko waits for ever for the answer to a request."""
        timer = threading.Timer(self.options.idle_timeout_seconds, self.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _open_channel(self) -> paramiko.Channel:
        channel = self._transport.open_session(timeout=self.options.connect_timeout_seconds)
        channel.settimeout(self.options.idle_timeout_seconds)
        return channel


def shown_key(host: str, address: SshAddress, algorithms: Sequence[str]) -> paramiko.PKey:
    """Return the host's key, of the first algorithm that it has, without a login.

    Raises HostUnreachable, or HostKeyMismatch if it has none of them.
    """
    with closing(_socket(host, address)) as connected, closing(paramiko.Transport(connected)) as transport:
        return _exchange_keys(host, address, transport, algorithms)


class _EagerSocket(socket.socket):
    """Acknowledges at once: a delayed acknowledgement costs each connection 40 ms. Linux resets the option each
    time."""

    #: how much may still be received; unbounded once the login has succeeded
    left_bytes: int | None = GREETING_BYTES

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        self._has_received(len(data))
        return data

    def recv_into(self, buffer: "WriteableBuffer", size: int = 0, flags: int = 0) -> int:
        received = super().recv_into(buffer, size, flags)
        self._has_received(received)
        return received

    def _has_received(self, count: int) -> None:
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if self.left_bytes is not None:
            self.left_bytes -= count
            if self.left_bytes < 0:
                raise ConnectionAbortedError("the host sent more than a greeting and a login can have")


def _exchange_keys(
    host: str, address: SshAddress, transport: paramiko.Transport, algorithms: Sequence[str]
) -> paramiko.PKey:
    """Exchange keys with the host; return its own, which is not verified yet. Sends no secret."""
    transport.banner_timeout = transport.handshake_timeout = address.connect_timeout_seconds
    transport.auth_timeout = transport.channel_timeout = address.connect_timeout_seconds
    security = transport.get_security_options()
    security.ciphers, security.digests, security.key_types = CIPHERS, MACS, tuple(algorithms)
    try:
        transport.start_client(timeout=address.connect_timeout_seconds)
        return transport.get_remote_server_key()  # raises after a time-out, which `start_client` does not
    except IncompatiblePeer as error:
        _raise_incompatible(host, error)
    except (OSError, EOFError, SSHException) as error:
        raise HostUnreachable(f"{host} does not speak SSH") from error


def _socket(host: str, options: SshAddress) -> _EagerSocket:
    """Connect to the addresses in turn, each for its share of the remaining time."""
    deadline = time.monotonic() + options.connect_timeout_seconds
    addresses = resolved(host, options)
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        eager = _EagerSocket(family, socket.SOCK_STREAM)
        try:
            eager.settimeout(max(0.001, (deadline - time.monotonic()) / left))
            eager.connect(address)
        except OSError as error:
            eager.close()
            refused = error
        else:
            eager.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return eager
    raise HostUnreachable(f"{host}: {why_unreachable(refused)}") from refused


def _raise_incompatible(host: str, error: IncompatiblePeer) -> NoReturn:
    if "host key" in str(error):
        raise HostKeyMismatch(f"{host} has no key of the pinned type") from error
    raise HostUnreachable(f"{host} offers no cipher or key exchange that is safe") from error


def _log_in(host: str, options: SshOptions, transport: paramiko.Transport) -> str:
    """Try key, agent and password in turn, until the login succeeds; return the registry's key for it."""
    try:
        login = _offer_keys(host, options, transport)
        if not transport.is_authenticated() and options.password is not None:
            transport.auth_password(options.username, secret_of(host, "password", options.password))
            login = "password"
    except AuthenticationException as error:
        if "timeout" in str(error).lower() or not transport.is_active():
            raise HostUnreachable(f"{host} does not answer the login") from error
        raise LoginRefused(host) from error
    except (OSError, EOFError, SSHException) as error:
        raise HostUnreachable(f"{host} closed the connection at the login") from error
    if not transport.is_authenticated():
        raise LoginRefused(host)
    return login


def _offer_keys(host: str, options: SshOptions, transport: paramiko.Transport) -> str:
    """Offer the keys; return the registry's key for the last one. Raises its failure only if there is no password to
    try."""
    with _agent(options) as agent_keys:
        keys = [("key_file", _private_key(host, options))] if options.key_file else []
        keys += [("allow_agent", key) for key in agent_keys]
        for number, (login, key) in enumerate(keys, start=1):
            try:
                transport.auth_publickey(options.username, key)
            except AuthenticationException:
                if number == len(keys) and options.password is None:
                    raise
            else:
                return login
    return ""


@contextmanager
def _agent(options: SshOptions) -> Iterator[tuple[paramiko.PKey, ...]]:
    """Yield the keys of the user's ssh-agent, if the registry allows it."""
    if not options.allow_agent:
        yield ()
        return
    agent = paramiko.Agent()
    try:
        yield agent.get_keys()
    finally:
        agent.close()


def _private_key(host: str, options: SshOptions) -> paramiko.PKey:
    """Return the private key. Raises LoginRefused if it cannot be used, also because others have got access since."""
    try:
        if options.key_file and (problem := privacy_problem(options.key_file)):
            raise PermissionError(problem)
        # paramiko has it as text, and what reads the key for it takes nothing but bytes
        passphrase: Any = options.key_passphrase.read().encode() if options.key_passphrase else None
        return paramiko.PKey.from_path(str(options.key_file), passphrase)
    except (OSError, LookupError, ValueError, TypeError, SSHException, UnknownKeyType) as error:
        raise LoginRefused(f"{host}: its key_file cannot be used by this worker") from error
