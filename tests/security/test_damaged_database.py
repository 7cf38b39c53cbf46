"""A database that is damaged is distinguished from what callers get wrong, and from an error of ours."""

import sqlite3
from xmlrpc.client import Fault, dumps, loads

import pytest

from tests.servers.deployment import deployment, host_table
from tests.servers.http import answered, call_request

ENDS = ("local://here/a", "local://here/b")
CALLS = [("move", *ENDS), ("check", 1), ("cancel", 1), ("retry", 1), ("hosts",)]
UNAVAILABLE = -32010


@pytest.fixture
def service(tmp_path, redis_url):
    """Nothing of it runs yet."""
    (tmp_path / "root").mkdir()
    registry = host_table("here", {"protocol": "local", "root": tmp_path / "root", "roles": ["source", "destination"]})
    with deployment(tmp_path / "service", redis_url, registry) as service:
        yield service


def damage(path):
    """Overwrites all but its first page, which says that it is a database, and what schema it has."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:page_bytes] + b"\xff" * (len(whole) - page_bytes))


def code_of(service, method, *arguments):
    with pytest.raises(Fault) as fault:
        loads(answered(service.port, call_request(dumps(arguments, method).encode())).body)
    return fault.value.faultCode


def test_a_database_that_cannot_be_read_is_an_outage(service):
    web = service.start_web()
    damage(service.directory / "jobs.db")

    assert {call: code_of(service, *call) for call in CALLS} == dict.fromkeys(CALLS, UNAVAILABLE)
    for path in (b"/health", b"/"):
        assert answered(service.port, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 503
    assert web.poll() is None
