"""Whether a registered host will serve: every step of a move is tried on it, and what does not hold is told.

Nothing that is secret is sent to a host whose key is not the pinned one, and what is written is removed again.
"""

import hashlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from getpass import getuser

from pydantic import ValidationError

from data_mover.backends import connect, writable
from data_mover.backends.api import Files, NewFile, Source
from data_mover.backends.http.options import HttpOptions
from data_mover.backends.options import HostOptions
from data_mover.backends.s3.options import S3Options
from data_mover.backends.ssh.connection import SshConnection, shown_key
from data_mover.backends.ssh.host_keys import PinnedKeys, algorithms, public_line
from data_mover.backends.ssh.options import HOST_KEY_TYPES, SshAddress, SshOptions
from data_mover.backends.webdav.options import WebdavOptions
from data_mover.checks.findings import Finding, Lacking, Step, advised, find, in_turn
from data_mover.config.registry import HostEntry
from data_mover.domain.errors import (
    CannotReplace,
    CertificateRefused,
    HostKeyMismatch,
    HostUnreachable,
    HttpLoginRefused,
    LoginRefused,
    MoveFailure,
    PermissionRefused,
)
from data_mover.domain.states import FileKind
from data_mover.transfer.names import temporary_path
from data_mover.transfer.verify import REMOTE_DIGEST_BYTES

PROBE_BYTES = 4096

_COMPARE = """\
No login was sent. Have the host's owner confirm the fingerprint; only then write
into [hosts.{host}], in the place of any other host_key or known_hosts:
host_key = "{line}"
"""


def headline(entry: HostEntry) -> str:
    """What is checked and by whom: another user may read other keys, and enter other directories."""
    options = entry.options
    what = f"{options.protocol}, {' and '.join(options.roles)}" if options else "cannot be used yet"
    return f"{entry.name} ({what}), checked by the user {getuser()}"


def check_host(entry: HostEntry) -> Iterator[Finding]:
    """The findings in their order, up to the step without which the others cannot be tried."""
    for problem in entry.problems:
        yield Finding("registry", False, str(problem))
    address = _ssh_address(entry)
    if address is not None:
        steps = ("address", partial(_reach, address)), ("host key", partial(_recognise, entry, address))
        if not (yield from in_turn(*steps)):
            return
    if isinstance(entry.options, HttpOptions):
        yield from _check_web(entry.name, entry.options)
    elif entry.options is not None:
        yield from _check_files(entry.name, entry.options)


def _ssh_address(entry: HostEntry) -> SshAddress | None:
    """Where to knock, even if the rest of the entry has mistakes; None for a host without an address."""
    if entry.options is not None:
        return entry.options if isinstance(entry.options, SshOptions) else None
    try:
        return SshAddress.model_validate(entry.table)
    except ValidationError:
        return None


def _reach(address: SshAddress) -> str:
    name, port = address.address, address.port
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Lacking(f"{name} has no IP address. Mend `address`, or the name server of this machine.") from error
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


def _recognise(entry: HostEntry, address: SshAddress) -> str:
    pinned = _pinned(entry)
    try:
        key = shown_key(entry.name, address, pinned.algorithms if pinned else algorithms(HOST_KEY_TYPES))
    except HostKeyMismatch:
        key = shown_key(entry.name, address, algorithms(HOST_KEY_TYPES))
    shown = f"{key.get_name()} {key.fingerprint}"
    if pinned and key in pinned:
        return f"{shown}, as pinned"
    difference = "not the key that is pinned" if pinned else "and no key is pinned that it could be compared with"
    raise Lacking(
        f"The host shows {shown}, {difference}.\n{_COMPARE.format(host=entry.name, line=public_line(key)).rstrip()}"
    )


def _pinned(entry: HostEntry) -> PinnedKeys | None:
    """None where no key can be used yet: the entry has mistakes, or the host is not in its known_hosts file."""
    if not isinstance(entry.options, SshOptions):
        return None
    try:
        return PinnedKeys.of(entry.name, entry.options)
    except HostKeyMismatch:
        return None


def _check_web(host: str, options: HttpOptions) -> Iterator[Finding]:
    steps: list[Step] = [("connection", partial(_meet, host, options))]
    if any(options.secrets()):
        steps.append(("login", partial(_show_login, host, options)))
    yield from in_turn(*steps, ("source", partial(_look_up_on_the_web, host, options)))


def _meet(host: str, options: HttpOptions) -> str:
    is_proven = options.protocol == "https"
    answers = f"{options.origin} answers"
    if is_proven:
        answers += f", with a certificate that {options.ca_file or 'this machine'} trusts"
    with (
        advised(MoveFailure, f"See that {answers}" + (", or mend `ca_file`." if is_proven else ".")),
        advised(LoginRefused, f"See that the user {getuser()} can read what the registry names for the login."),
    ):
        connect(host, options).close()
    return answers


def _show_login(host: str, options: HttpOptions) -> str:
    """An answer that is no file says nothing against a login; 403 need not, where directories are shown to nobody."""
    keys = ", ".join(f"`{key}`" for key, _ in options.secrets())
    with advised(HttpLoginRefused, f"See that {keys} of the registry is what the server wants."):
        try:
            with connect(host, options) as source:
                source.stat("/")
        except MoveFailure as failure:
            if failure.retryable or isinstance(failure, HttpLoginRefused):
                raise
            if failure.code == "http-403":
                return "403 at the root: the server lists no directories, or does not let this login in"
    return f"with {keys}, which is not refused at the root"


def _look_up_on_the_web(host: str, options: HttpOptions) -> str:
    with connect(host, options) as source:
        return _look_up(source)


def _check_files(host: str, options: HostOptions) -> Iterator[Finding]:
    login = _login(host, options)
    if login is not None and not (yield from in_turn(("login", login))):
        return
    try:
        connected = writable(connect(host, options))
    except MoveFailure as failure:
        yield Finding("root", False, f"{failure.reason}.\n{_root_advice(options)}")
        return
    with connected:
        if not (yield from in_turn(("root", partial(_find_root, connected)))):
            return
        if "source" in options.roles:
            yield find("source", partial(_look_up, connected))
        if "destination" in options.roles:
            yield find("space", partial(_free_space, connected))
            yield from _Probe(connected).findings()


def _login(host: str, options: HostOptions) -> Callable[[], str] | None:
    """None where nobody has to log in."""
    if isinstance(options, SshOptions):
        return partial(_log_in, host, options)
    return partial(_sign_in, host, options) if isinstance(options, S3Options | WebdavOptions) else None


def _sign_in(host: str, options: S3Options | WebdavOptions) -> str:
    login = "`bearer`, or `username` and `password` are right"
    if isinstance(options, S3Options):
        login = "`access_key`, `secret_key` and `region` are right, and the clock of this machine"
    with (
        advised(LoginRefused, f"See that {login}."),
        advised(
            CertificateRefused, "See that `endpoint` has the name in the certificate, or name its authority: `ca_file`."
        ),
        advised(
            HostUnreachable,
            f"See that the server is up, that {options.endpoint} is right, and that no firewall is in the way.",
        ),
    ):
        connect(host, options).close()
    return f"at {options.endpoint}, {_identity(options)}"


def _identity(options: S3Options | WebdavOptions) -> str:
    if isinstance(options, S3Options):
        return f"with the key from {options.access_key}"
    if options.password:
        return f"as {options.username}, with the password from {options.password}"
    return f"with the token from {options.bearer}" if options.bearer else "without a login"


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


def _root_advice(options: HostOptions) -> str:
    if isinstance(options, S3Options):
        return f"See that there is a bucket {options.bucket} that the key may use, or mend `bucket`."
    return f"See that {options.root} is a directory there that Data Mover may enter, or mend `root`."


def _find_root(files: Files) -> str:
    with advised(MoveFailure, _root_advice(files.options)):
        file_stat = files.stat("/")
    if file_stat is None or file_stat.kind is not FileKind.DIRECTORY:
        what = "There is no" if file_stat is None else "No directory is"
        raise Lacking(f"{what} {files.options.root} on the host.\n{_root_advice(files.options)}")
    return f"{files.options.root} is a directory"


def _look_up(files: Source) -> str:
    """Which files there are is not asked: a name that nobody has tells whether names can be looked up."""
    with advised(PermissionRefused, f"Let Data Mover enter {files.options.root} (permission x)."):
        files.stat(_probe_path())
    return "names below the root can be looked up; whether a file can be read is seen when it is moved"


def _free_space(files: Files) -> str:
    free = files.free_bytes("/")
    if free == 0:
        raise Lacking("There is none: the disk is full, or a quota is used up. Ask the host's owner for more.")
    if free is None:
        return "the host does not tell: a full disk is noticed when a file does not fit"
    return f"{free / 10**6:,.0f} MB free"


def _probe_path() -> str:
    return temporary_path("/probe", job_id=0, file_number=0, attempt=0)


class _Probe:
    """A file that is put through what a move does to its own, and removed whatever happens."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._options = files.options
        self._path, self._other_path = _probe_path(), _probe_path()
        self._content = secrets.token_bytes(PROBE_BYTES)

    def findings(self) -> list[Finding]:
        steps: list[Step] = [
            ("write", self._write),
            ("verify", self._verify),
            ("rename", self._rename),
            ("replace", self._replace),
        ]
        try:
            found = list(in_turn(*steps))
        finally:
            removed = find("delete", self._delete)
        return [*found, removed]

    def _write(self) -> str:
        with advised(PermissionRefused, f"Let Data Mover write in {self._options.root}, or mend `root`."):
            self._create()
        return f"a probe of {PROBE_BYTES} bytes: {self._path}"

    def _create(self) -> None:
        new_file = NewFile(PROBE_BYTES, self._options.file_mode, time.time())
        with self._files.create(self._path, new_file) as writer:
            writer.write(self._content)
            writer.commit()

    def _verify(self) -> str:
        if self._options.verify == "size":
            return "by size alone (size), as the registry says"
        advice = 'Let Data Mover read what it has written. Where it may not, `verify = "size"` proves sizes alone.'
        with advised(MoveFailure, advice), self._files.open(self._path) as reader:
            content = b"".join(reader.blocks())
        if content != self._content:
            raise Lacking("What was read back is not what was written: files cannot be proven there.")
        return self._way_of_proof()

    def _way_of_proof(self) -> str:
        if self._options.verify == "sha256-readback":
            return "by reading back (sha256-readback), as the registry says"
        if self._files.sha256(self._path) != hashlib.sha256(self._content).hexdigest():
            return "by reading back (sha256-readback): no command there tells the SHA-256"
        mebibytes = REMOTE_DIGEST_BYTES // 2**20
        return (
            f"from {mebibytes} MiB on by a command on the host (sha256-remote), else by reading back (sha256-readback)"
        )

    def _rename(self) -> str:
        self._files.rename(self._path, self._other_path)
        return "the probe has got another name"

    def _replace(self) -> str:
        self._create()
        try:
            self._files.replace(self._path, self._other_path)
        except CannotReplace as failure:
            if self._options.replace == "swap":
                return 'not atomically; the registry says replace = "swap": the old file aside, the new one in'
            raise Lacking(
                "The host cannot replace a file atomically, so that moves onto a file that exists fail.\n"
                'replace = "swap" puts the old file aside meanwhile: for a moment nothing has its name.'
            ) from failure
        return "atomically: a second probe has taken the place of the first"

    def _delete(self) -> str:
        try:
            self._remove(self._files)
        except MoveFailure:
            with advised(MoveFailure, f"Remove there what may be left: {self._path} and {self._other_path}"):
                self._remove_on_a_new_connection()
        return "nothing is left of the probe"

    def _remove_on_a_new_connection(self) -> None:
        with connect(self._files.host, self._options) as connected:
            self._remove(writable(connected))

    def _remove(self, files: Files) -> None:
        files.remove(self._path)
        files.remove(self._other_path)
