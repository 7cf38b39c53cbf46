"""A database that takes connections and never answers keeps nobody waiting for ever."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from xmlrpc.client import Fault, dumps, loads

import psycopg
import pytest

from tests.servers.deployment import deployment, host_table
from tests.servers.http import answered, call_request
from tests.servers.postgresql import postgresql_server
from tests.servers.processes import eventually, free_port

#: an old connection that is given up, and a new one that does not come about
LONGEST_WAIT_SECONDS = 20
#: several times as many as the web process has threads: none has to wait until others have waited
CALLERS = 60


@contextmanager
def stopped(*processes):
    """Processes that exist and do nothing: their kernel still acknowledges what is sent to them."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def backends(url):
    """The processes of PostgreSQL that serve the service's connections."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'data_mover'").fetchall()
    return [pid for (pid,) in rows]


def test_a_database_that_never_answers_is_distinguished_and_works_again_when_it_is_back(tmp_path, redis_url):
    (tmp_path / "root").mkdir()
    registry = host_table("here", {"protocol": "local", "root": tmp_path / "root", "roles": ["source", "destination"]})
    port = free_port()

    with ExitStack() as stack:
        with postgresql_server(tmp_path / "postgresql", port) as url:
            service = stack.enter_context(deployment(tmp_path / "service", redis_url, registry, database_url=url))
            web = service.start_web()
            job_id = called(service, "move", "local://here/a", "local://here/b")["id"]
            postmaster = int((tmp_path / "postgresql" / "data" / "postmaster.pid").read_text().split()[0])

            with stopped(postmaster, *backends(url)), ThreadPoolExecutor(CALLERS) as callers:
                waits = [callers.submit(assert_unavailable, service, "check", job_id) for _ in range(CALLERS)]
                for each in waits:
                    each.result()
            eventually(lambda: is_answered(service), "the database is asked again")

        with socket.create_server(("127.0.0.1", port)):
            assert_unavailable(service, "check", job_id)

        with postgresql_server(tmp_path / "postgresql", port):
            eventually(lambda: is_answered(service), "the database is asked again")
            assert called(service, "check", job_id)["status"] == "PENDING"
        assert web.poll() is None


def called(service, method, *arguments):
    answer = answered(
        service.port, call_request(dumps(arguments, method).encode()), timeout_seconds=LONGEST_WAIT_SECONDS
    )
    return loads(answer.body)[0][0]


def is_answered(service):
    try:
        return called(service, "hosts")
    except Fault:
        return False


def assert_unavailable(service, method, *arguments):
    with pytest.raises(Fault) as fault:
        called(service, method, *arguments)
    assert fault.value.faultCode == -32010
