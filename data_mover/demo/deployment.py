"""The directory of the demo: a complete deployment, written anew for each run and readable by its user alone."""

import fcntl
import json
import os
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from data_mover.domain.errors import DataMoverError

#: the file that marks a directory as the demo's own, which may be emptied; a running demo has a lock on it
MARK = ".data_mover-demo"
#: the directory that is kept between runs: a Redis server that had to be downloaded
PROGRAMS = "programs"

#: bytes copied between two checkpoints: the worker that resumes a copy repeats hardly more
CHECKPOINT_BYTES = 8 * 2**20

INI = """\
[app:main]
use = egg:data_mover
sqlalchemy.url = sqlite:///%(here)s/demo.db
redis.url = {redis_url}
data_mover.registry = %(here)s/registry.toml
data_mover.callers = none
data_mover.default_destination = visualizer:/
data_mover.state_dir = %(here)s/state
# progress that can be watched, and a lost worker that is noticed within seconds
data_mover.beat_seconds = 0.25
data_mover.lease_seconds = 3
data_mover.sweep_seconds = 0.5
data_mover.checkpoint_bytes = {checkpoint_bytes}

[server:main]
use = egg:data_mover#server
listen = 127.0.0.1:{web_port}

[loggers]
keys = root, data_mover

[handlers]
keys = console

[formatters]
keys = line

[logger_root]
level = WARNING
handlers = console

[logger_data_mover]
level = INFO
handlers =
qualname = data_mover

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = line

[formatter_line]
format = %(asctime)s %(levelname)s %(name)s %(message)s
"""

REGISTRY = """\
[hosts.disk]
description = "A directory of this machine"
protocol = "local"
root = {source}
roles = ["source"]

[hosts.visualizer]
description = "The SFTP server of the demo"
protocol = "sftp"
address = "127.0.0.1"
port = {sftp_port}
username = "demo"
key_file = "keys/login"
host_key = {host_key}
root = "/"
roles = ["destination"]
# slow enough to be watched
bandwidth = "120MB/s"

[datasets.map]
description = "What the demo moves"
source = {{ host = "disk", path = "/maps/{{id}}.bin" }}
"""

#: Any client of a Redis without a password can write files as its user, so no other user may connect: it listens only
#: on a socket in its own directory.
REDIS = """\
port 0
unixsocket redis.sock
unixsocketperm 700
appendonly yes
save ""
"""

#: as in production, and beside it:
SUPERVISOR = Path(__file__).with_name("supervisord.conf")
SFTP_SERVER = """\

[program:sftp-server]
command = {python} -m data_mover.demo.sftp_server --port {sftp_port}
    --directory destination --host-key keys/host --login-key keys/login.pub
priority = 100
autorestart = true
startsecs = 3
startretries = 1000000
redirect_stderr = true
stdout_logfile = %(here)s/logs/sftp-server.log
"""

#: the longest path that a Unix socket can have, in bytes
LONGEST_SOCKET_PATH = 107
#: the longest name of a socket in the directory: supervisord appends its process id at first
LONGEST_SOCKET = "supervisor.sock.4194304"


class DirectoryInUse(DataMoverError):
    """The directory cannot be the demo's."""


def free_port() -> int:
    """Return a free port of the loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclass(frozen=True)
class DemoDirectory:
    """The paths and ports of one run."""

    path: Path
    #: a path of it, possibly a link, that is short enough for the sockets in it
    short: Path
    web_port: int = field(default_factory=free_port)
    sftp_port: int = field(default_factory=free_port)

    @property
    def ini(self) -> Path:
        return self.path / "demo.ini"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def redis(self) -> Path:
        """The directory of Redis, with its data and its socket."""
        return self.path / "redis"

    @property
    def redis_url(self) -> str:
        return f"unix://{quote(str(self.short / 'redis' / 'redis.sock'))}"

    @property
    def supervisor(self) -> Path:
        """The configuration of supervisord, by the short path: its socket is beside it."""
        return self.short / "supervisord.conf"

    @property
    def programs(self) -> Path:
        return self.path / PROGRAMS

    @property
    def redis_link(self) -> Path:
        """The link by which supervisord finds the Redis server, whatever its name and path."""
        return self.path / "bin" / "redis-server"

    @property
    def source(self) -> Path:
        """The root of the host `disk`."""
        return self.path / "source"

    @property
    def destination(self) -> Path:
        """The root of the host `visualizer`."""
        return self.path / "destination"

    @property
    def host_key(self) -> Path:
        return self.path / "keys" / "host"

    @property
    def login_key(self) -> Path:
        return self.path / "keys" / "login"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def endpoint(self) -> str:
        return f"{self.base_url}/data_mover"

    def write(self) -> None:
        """Write keys and configuration, and make the directories they name."""
        for directory in (
            *(self.logs, self.redis, self.redis_link.parent),
            *(self.source, self.destination, self.host_key.parent),
        ):
            directory.mkdir(mode=0o700)
        _write_key_pair(self.login_key)
        host_key = _write_key_pair(self.host_key)
        ini = INI.format(redis_url=_for_ini(self.redis_url), web_port=self.web_port, checkpoint_bytes=CHECKPOINT_BYTES)
        self.ini.write_text(ini, "utf-8")
        registry = REGISTRY.format(source=_toml(self.source), sftp_port=self.sftp_port, host_key=_toml(host_key))
        (self.path / "registry.toml").write_text(registry, "utf-8")
        (self.redis / "redis.conf").write_text(REDIS, "utf-8")
        sftp_server = SFTP_SERVER.format(python=_for_supervisor(sys.executable), sftp_port=self.sftp_port)
        self.supervisor.write_text(SUPERVISOR.read_text("utf-8") + sftp_server, "utf-8")


@contextmanager
def demo_directory(path: Path) -> Iterator[DemoDirectory]:
    """Yield the directory, emptied and written anew. Raises DirectoryInUse for one that the demo may not empty."""
    path = path.absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(path.iterdir()) and not (path / MARK).exists():
        raise DirectoryInUse(f"{path} has files that the demo did not make; name another with --directory.")
    with _lock(path / MARK):
        path.chmod(0o700)
        _empty(path)
        with _short(path) as short:
            directory = DemoDirectory(path, short)
            directory.write()
            yield directory


@contextmanager
def _short(path: Path) -> Iterator[Path]:
    """Yield the path, or that of a link to it in a private temporary directory if it is too long for sockets."""
    if _fits(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="demo-") as private:  # of mode 0700
        link = Path(private, "d")
        if not _fits(link):
            raise DirectoryInUse(f"{path} and {link} are too long for the path of a socket; set TMPDIR to /tmp.")
        link.symlink_to(path)
        yield link


def _fits(path: Path) -> bool:
    return len(os.fsencode(path / LONGEST_SOCKET)) <= LONGEST_SOCKET_PATH


@contextmanager
def _lock(mark: Path) -> Iterator[None]:
    with mark.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUse(f"A demo runs in {mark.parent} already; name another with --directory.") from None
        yield


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name in (MARK, PROGRAMS):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _toml(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _for_ini(value: str) -> str:
    return value.replace("%", "%%")


def _for_supervisor(word: str) -> str:
    """Return the text as one word of a command line."""
    return _for_ini(shlex.quote(word))


def _write_key_pair(path: Path) -> str:
    """Write a new private key, and beside it the public one; return its line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    path.with_suffix(".pub").write_text(public + "\n", "ascii")
    return public
