"""`callers = none` behind nginx: who is served with each of the usual configurations."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.servers.deployment import deployment, host_table
from tests.servers.http import answered, call_request
from tests.servers.nginx import nginx
from tests.servers.processes import eventually

#: what administrators write; the first two reach the service as if their clients were programs of this machine
LOCATIONS = {
    "plain": ("proxy_pass http://127.0.0.1:{port};", 200),
    "HTTP/1.1": ("proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1;", 200),
    "the client's host": ("proxy_pass http://127.0.0.1:{port}; proxy_set_header Host portal.example.org;", 403),
    "X-Forwarded-For": (
        "proxy_pass http://127.0.0.1:{port}; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        403,
    ),
    "X-Real-IP": ("proxy_pass http://127.0.0.1:{port}; proxy_set_header X-Real-IP $remote_addr;", 403),
    "Forwarded": ('proxy_pass http://127.0.0.1:{port}; proxy_set_header Forwarded "for=$remote_addr";', 403),
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    return host_table("disk", {"protocol": "local", "root": root, "roles": ["source", "destination"]})


@pytest.fixture(scope="module")
def service(tmp_path_factory, redis_url, registry):
    """On a TCP port, as development.ini has it."""
    with deployment(tmp_path_factory.mktemp("service"), redis_url, registry) as service:
        service.start_web()
        yield service


@pytest.fixture(scope="module")
def socket_service(tmp_path_factory, redis_url, registry):
    """On a Unix socket, as production.ini has it, in a directory that everybody may enter: the socket's path."""
    with (
        tempfile.TemporaryDirectory() as directory,
        deployment(tmp_path_factory.mktemp("service"), redis_url, registry) as service,
    ):
        os.chmod(directory, 0o755)
        socket = Path(directory) / "web.sock"
        text = service.ini.read_text()
        service.ini.write_text(text.replace(f"listen = 127.0.0.1:{service.port}", f"unix_socket = {socket}"))
        service.start("web", "pserve", str(service.ini))
        eventually(socket.exists, "the web process listens")
        yield socket


@pytest.mark.parametrize(("user", "status"), [("root", 200), ("nobody nogroup", 502)])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a proxy of another user")
def test_a_unix_socket_serves_a_proxy_of_its_own_user_alone(socket_service, tmp_path, user, status):
    with nginx(tmp_path / "nginx", f"proxy_pass http://unix:{socket_service};", user) as port:
        assert answered(port, call_request()).status == status


@pytest.mark.parametrize(("location", "status"), LOCATIONS.values(), ids=LOCATIONS)
def test_a_tcp_port_serves_only_a_proxy_that_says_nothing_of_its_clients(service, tmp_path, location, status):
    with nginx(tmp_path / "nginx", location.format(port=service.port)) as port:
        assert answered(port, call_request()).status == status

    assert "every user and every program of this machine may call, a proxy on it for everybody" in service.log("web")
