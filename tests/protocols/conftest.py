"""Every backend on real servers, for the one suite that they all must pass."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data_mover.backends import PROTOCOLS, connect
from data_mover.backends.api import Source
from data_mover.backends.options import HostOptions
from tests.servers.asyncssh_server import asyncssh_server
from tests.servers.busybox import busybox_shell
from tests.servers.dropbear import dropbear_server
from tests.servers.openssh import openssh_server
from tests.servers.proftpd import proftpd_server
from tests.servers.rclone import rclone_server
from tests.servers.s3 import Bucket
from tests.servers.same_view import same_view
from tests.servers.web import web_server
from tests.servers.webdav import rclone_webdav_server

_BARE = """
ForceCommand internal-sftp -P posix-rename,fsync,statvfs,fstatvfs,limits
Ciphers aes256-ctr
MACs hmac-sha2-256
"""

#: of a host that shows a storage without links, modes, odd names and files that are no files
_LACKS_OF_A_CLOUD = frozenset(
    {"digest", "free space", "modes", "links", "control characters", "exclusive", "offsets", "directory times"}
)

#: of a host whose files are objects
_LACKS_OF_A_STORE = _LACKS_OF_A_CLOUD - {"control characters"} | {"directories", "checkpoints", "replacing links"}

#: what every WebDAV host lacks, whatever its server
_LACKS_OF_WEBDAV = _LACKS_OF_A_CLOUD - {"control characters"} | {"replacing", "checkpoints", "file times"}

_bucket_numbers = itertools.count(1)


@dataclass(frozen=True)
class Host:
    """A host of the suite: what the registry says of it, and the directory or bucket that is its root."""

    name: str
    options: HostOptions
    root: Path | Bucket
    #: what it honestly cannot do, see `KINDS`
    lacks: frozenset[str] = frozenset()

    def connect(self) -> Source:
        return connect(self.name, self.options)

    def set_modified(self, name: str, modified_at: float) -> None:
        if isinstance(self.root, Bucket):
            (self.root / name).set_modified(modified_at)
        else:
            os.utime(self.root / name, (modified_at, modified_at))

    def fill(self, files: dict[str, bytes]) -> None:
        """Puts files below its root, in the directories that their names contain."""
        for name, content in files.items():
            if isinstance(self.root, Path):
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(content)

    def names(self) -> list[str]:
        """What is in its root."""
        return self.root.names() if isinstance(self.root, Bucket) else os.listdir(self.root)

    def needs(self, ability: str) -> None:
        """Skips the test where the host lacks what the test is about, and no answer of ours can make up for it."""
        if ability in self.lacks:
            pytest.skip(f"{self.name} has no {ability}")

    def changed(self, **changes) -> "Host":
        values = {key: getattr(self.options, key) for key in self.options.model_fields_set} | changes
        return Host(self.name, type(self.options).model_validate(values), self.root, self.lacks)


@dataclass(frozen=True)
class Kind:
    """A kind of host: the fixture of its server, the protocol that is spoken, and what it cannot do."""

    server: str = ""
    protocol: str = "sftp"
    #: `replacing` what is there atomically; `replacing links` instead of what they lead to, or only `replacing links to
    #: directories`; telling the `free space`; computing a `digest`; `modes`; showing `links` and pipes; names with
    #: `control characters`; `exclusive` creation; writing at `offsets` of a file that is there; telling
    #: at `checkpoints` what is on disk; `directories` with nothing in them; setting `file times`
    #: and `directory times`; telling in time of a directory with `many entries`; telling
    #: `pipes` from empty files
    lacks: frozenset[str] = frozenset()

    def root(self, request, tmp_path):
        """A new one."""
        if self.protocol == "s3":
            return request.getfixturevalue(self.server).make_bucket(f"bucket-{next(_bucket_numbers)}")
        root = tmp_path / "root"
        root.mkdir()
        return root

    def table(self, request, root):
        """What a registry says of it."""
        if not self.server:
            return {"protocol": "local", "root": str(root), "roles": ["source", "destination"]}
        return request.getfixturevalue(self.server).options(root, protocol=self.protocol)


KINDS = {
    "local": Kind(lacks=frozenset({"digest"})),
    "sftp-openssh": Kind("openssh"),
    "sftp-openssh-forced": Kind("openssh_forced", lacks=frozenset({"digest"})),
    "sftp-openssh-bare": Kind("openssh_bare", lacks=frozenset({"digest", "replacing", "free space"})),
    "sftp-openssh-chroot": Kind("openssh_chroot", lacks=frozenset({"digest"})),
    "sftp-dropbear": Kind("dropbear"),
    "sftp-asyncssh": Kind("asyncssh", lacks=frozenset({"digest"})),
    "sftp-proftpd": Kind("proftpd", lacks=frozenset({"digest", "replacing links"})),
    "sftp-rclone": Kind("rclone", lacks=_LACKS_OF_A_CLOUD),
    "scp-openssh": Kind("openssh", "scp"),
    "scp-dropbear": Kind("dropbear", "scp"),
    "scp-busybox": Kind("openssh_busybox", "scp", lacks=frozenset({"replacing links to directories"})),
    "webdav-apache": Kind("apache", "webdav", lacks=_LACKS_OF_WEBDAV | {"pipes"}),
    "webdav-rclone": Kind("rclone_webdav", "webdav", lacks=_LACKS_OF_WEBDAV | {"control characters", "many entries"}),
    "s3-ceph": Kind("ceph", "s3", lacks=_LACKS_OF_A_STORE),
}
#: those that can be read, and nothing else
SOURCES = {"http": Kind("web", "http"), "https": Kind("tls_web", "https")}
#: those that know who may log in, one of each server
SSH_HOSTS = ["sftp-openssh", "sftp-openssh-forced", "sftp-dropbear", "sftp-proftpd", "scp-openssh"]


def _session_server(start: Callable[..., Any], **options: Any):
    """A fixture of a server that all tests share."""

    @pytest.fixture(scope="session")
    def server(tmp_path_factory):
        with start(tmp_path_factory.mktemp("server"), **options) as running:
            yield running

    return server


openssh_forced = _session_server(
    openssh_server, address="::1", host_key="ecdsa", extra="ForceCommand internal-sftp -d /"
)
openssh_bare = _session_server(openssh_server, host_key="rsa", extra=_BARE)
asyncssh = _session_server(asyncssh_server)
dropbear = _session_server(dropbear_server)
proftpd = _session_server(proftpd_server)
rclone = _session_server(rclone_server)
rclone_webdav = _session_server(rclone_webdav_server)
web = _session_server(web_server)
tls_web = _session_server(web_server, tls=True)


@pytest.fixture(scope="session")
def openssh_chroot(tmp_path_factory):
    """Commands do not run there: the chroot has no shell."""
    with (
        same_view(tmp_path_factory.getbasetemp()) as chroot,
        openssh_server(tmp_path_factory.mktemp("openssh"), extra=f"ChrootDirectory {chroot}") as server,
    ):
        yield server


@pytest.fixture(scope="session")
def openssh_busybox(tmp_path_factory):
    directory = tmp_path_factory.mktemp("openssh")
    with openssh_server(directory, extra=f"ForceCommand {busybox_shell(directory / 'bin')}") as server:
        yield server


@pytest.fixture(params=KINDS)
def host(request, tmp_path):
    return _host(request, tmp_path)


@pytest.fixture(params=SSH_HOSTS)
def ssh_host(request, tmp_path):
    return _host(request, tmp_path)


def _host(request, tmp_path):
    kind = {**KINDS, **SOURCES}[request.param]
    root = kind.root(request, tmp_path)
    table = {"connect_timeout_seconds": 5, "idle_timeout_seconds": 5, **kind.table(request, root)}
    return Host(request.param, PROTOCOLS[table["protocol"]].options.model_validate(table), root, kind.lacks)


@pytest.fixture(params=[*KINDS, *SOURCES])
def source_host(request, tmp_path):
    return _host(request, tmp_path)


@pytest.fixture
def source(source_host):
    with source_host.connect() as connected:
        yield connected


@pytest.fixture
def files(host):
    with host.connect() as connected:
        yield connected
