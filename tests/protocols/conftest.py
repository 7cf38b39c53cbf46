"""Every backend on real servers, for the one suite that they all must pass."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_mover.protocols import PROTOCOLS, connect
from data_mover.protocols.base import Files
from data_mover.protocols.options import HostOptions
from tests.servers.asyncssh_server import asyncssh_server
from tests.servers.openssh import openssh_server

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Host:
    """A host of the suite: what the registry says of it, and the directory that is its root."""

    name: str
    options: HostOptions
    root: Path

    def connect(self) -> Files:
        return connect(self.name, self.options)

    def changed(self, **changes) -> "Host":
        values = self.options.model_dump(exclude_unset=True) | changes
        return Host(self.name, type(self.options).model_validate(values), self.root)


@pytest.fixture(scope="session")
def openssh_without_commands(tmp_path_factory):
    with openssh_server(tmp_path_factory.mktemp("openssh"), extra="ForceCommand internal-sftp") as server:
        yield server


@pytest.fixture(scope="session")
def openssh_without_renaming(tmp_path_factory):
    subsystem = "internal-sftp -P posix-rename"
    with openssh_server(tmp_path_factory.mktemp("openssh"), extra=f"ForceCommand {subsystem}") as server:
        yield server


@pytest.fixture(scope="session")
def asyncssh(tmp_path_factory):
    with asyncssh_server(tmp_path_factory.mktemp("asyncssh")) as server:
        yield server


def _local(request, root):
    return {"protocol": "local", "root": str(root), "roles": ["source", "destination"]}


def _sftp(request, root):
    return request.getfixturevalue("openssh").options(root)


def _sftp_without_commands(request, root):
    return request.getfixturevalue("openssh_without_commands").options(root)


def _sftp_asyncssh(request, root):
    return request.getfixturevalue("asyncssh").options(root)


def _scp(request, root):
    return request.getfixturevalue("openssh").options(root, protocol="scp")


HOSTS = {
    "local": _local,
    "sftp-openssh": _sftp,
    "sftp-openssh-without-commands": _sftp_without_commands,
    "sftp-asyncssh": _sftp_asyncssh,
    "scp-openssh": _scp,
}
#: those that know who may log in
SSH_HOSTS = [name for name in HOSTS if name not in ("local", "sftp-asyncssh")]


@pytest.fixture(params=HOSTS)
def host(request, tmp_path):
    return _host(request, tmp_path)


@pytest.fixture(params=SSH_HOSTS)
def ssh_host(request, tmp_path):
    return _host(request, tmp_path)


def _host(request, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    table = {"connect_timeout_seconds": 5, "idle_timeout_seconds": 5, **HOSTS[request.param](request, root)}
    return Host(request.param, PROTOCOLS[table["protocol"]].options.model_validate(table), root)


@pytest.fixture
def files(host):
    with host.connect() as connected:
        yield connected
