"""One attempt at a job: what becomes of the job when it fails."""

from dataclasses import replace

import pytest

from data_mover.config.callers import OnlyThisMachine
from data_mover.config.registry import Registry
from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import HostUnreachable
from data_mover.domain.proof import Proof
from data_mover.domain.states import Phase, Status
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.execution.attempt import Attempt
from data_mover.execution.connector import Connector
from data_mover.execution.heartbeat import Heartbeat, LeaseTerms
from data_mover.execution.stop import Stop
from data_mover.store import events, file_lists, host_health, queue, reports, submissions, transitions
from data_mover.store.workers import WorkerProcess
from tests.integration.conftest import a_file, a_submission
from tests.servers.deployment import host_table

NO_HOSTS = Registry(hosts={}, datasets={})
LIMITS = queue.Limits({"disk": 1, "vis": 1})
LEASE_SECONDS = 30
WORKER = WorkerProcess(1, "here", 1, "1.0")


@pytest.fixture
def settings(tmp_path):
    return Settings.from_mapping(
        {
            "sqlalchemy.url": f"sqlite:///{tmp_path}/jobs.db",
            "redis.url": "redis://127.0.0.1:6379/0",
            "data_mover.registry": str(tmp_path / "registry.toml"),
            "data_mover.callers": "none",
            "data_mover.state_dir": str(tmp_path / "state"),
        }
    )


@pytest.fixture
def connector(settings, database):
    return Connector(database, Backoff(1, 1), Doorbell(redis_connection(settings.redis_url, settings.redis_secret())))


@pytest.fixture
def claimed(database):
    """A job that has just been claimed."""
    with database.writing() as session:
        submissions.add(session, a_submission())
        [candidate] = queue.candidates(session, WORKER, LIMITS)
        return queue.take(session, candidate, WORKER, LIMITS, LEASE_SECONDS)


@pytest.fixture
def report(database, claimed):
    def read():
        with database.reading() as session:
            return reports.report(session, "ann", claimed.job_id)

    return read


def run_attempt(settings, database, connector, claimed, registry=NO_HOSTS):
    terms = LeaseTerms(settings.lease_seconds, settings.beat_seconds)
    with Heartbeat(database, WORKER, terms, Stop(patience_seconds=5)) as heartbeat:
        Attempt(settings, database, registry, OnlyThisMachine(), connector, heartbeat, claimed).run()


def test_a_failure_that_a_retry_cannot_help_ends_the_job(settings, database, connector, claimed, report):
    run_attempt(settings, database, connector, claimed)

    assert (report().status, report().code) == (Status.FAILED, "unknown-host")


def test_a_job_waits_for_a_host_that_has_just_left_the_registry(settings, database, connector, claimed, report):
    run_attempt(settings, database, connector, claimed, replace(NO_HOSTS, missed_hosts=frozenset({"disk"})))

    reported = report()
    assert (reported.status, reported.phase, reported.code) == (Status.PENDING, Phase.BLOCKED, "host-unreachable")
    assert "disk: it has just left the registry" in reported.reason


def test_while_nobody_knows_whether_it_was_published_no_failure_ends_the_job(
    settings, database, connector, claimed, report
):
    with database.writing() as session:
        file_lists.complete_file_list(session, claimed, "/b", 0, [a_file("/b", 1)])
        transitions.mark_publishing(session, claimed, {0: Proof(1, "ab", "size")}, Phase.PUBLISHING, LEASE_SECONDS)

    run_attempt(settings, database, connector, claimed)

    reported = report()
    assert (reported.status, reported.phase, reported.code) == (Status.PENDING, Phase.WAITING_RETRY, "unknown-host")
    assert reported.next_attempt_at < reported.deadline_at


def test_an_attempt_is_resolving_until_its_hosts_are_connected(settings, database, connector, claimed):
    """Only so many attempts may find out whether a host lets them in, and phase `resolving` counts them."""
    with database.writing() as session:
        file_lists.complete_file_list(session, claimed, "/b", 0, [a_file("/b", 1)])

    run_attempt(settings, database, connector, replace(claimed, planned=True, path="/b"))

    with database.reading() as session:
        phases = [event.to_phase for event in events.of_job(session, claimed.job_id)]
    assert Phase.TRANSFERRING not in phases


def test_a_probe_closes_the_circuit_also_of_a_host_that_was_reached_a_moment_ago(
    tmp_path, database, connector, claimed
):
    path = tmp_path / "registry.toml"
    path.write_text(host_table("disk", {"protocol": "local", "root": tmp_path, "roles": ["source"]}))
    registry = RegistryFile(path, False).current()
    connector.connect("disk", registry).close()
    with database.writing() as session:  # another worker has not reached it
        host_health.record_unreachable(session, "disk", HostUnreachable("disk"), Backoff(60, 60))

    connector.probe("disk", registry)

    with database.reading() as session:
        assert "disk" not in host_health.blocks(session)
