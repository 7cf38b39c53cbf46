"""A service that listens on a Unix socket: who reaches it, and what is refused instead."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from data_mover.client import Client, ServiceUnavailable
from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually


@pytest.fixture
def service(tmp_path, redis_url):
    """A service whose web process has not been started."""
    (tmp_path / "root").mkdir()
    table = {"protocol": "local", "root": tmp_path / "root", "roles": ["source", "destination"]}
    with deployment(tmp_path / "service", redis_url, host_table("disk", table)) as running:
        yield running


def listen_as(service, line):
    text = service.ini.read_text()
    service.ini.write_text(text.replace(f"listen = 127.0.0.1:{service.port}", line))


def test_the_socket_is_of_the_users_own_and_the_client_and_the_command_know_it(service, tmp_path):
    socket = tmp_path / "web.sock"
    listen_as(service, f"unix_socket = {socket}")
    service.start("web", "pserve", str(service.ini))
    eventually(socket.exists, "the web process listens", 30)

    with Client(f"unix:{socket}") as client:
        names = [host["name"] for host in eventually(lambda: hosts(client), "it answers", 30)]
    command = [str(Path(sys.executable).parent / "data_mover"), "--url", f"unix:{socket}", "--json", "hosts"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert names == ["disk"]
    assert '"disk"' in shown
    assert stat.S_IMODE(os.stat(socket).st_mode) == 0o600


def hosts(client):
    try:
        return client.hosts()
    except ServiceUnavailable:
        return None


def test_an_address_that_other_machines_reach_is_refused_at_the_start(service):
    listen_as(service, "listen = *:0")

    web = service.start("web", "pserve", str(service.ini))

    assert web.wait(timeout=30) != 0
    assert "*:0 can be reached from other machines" in service.log("web")
