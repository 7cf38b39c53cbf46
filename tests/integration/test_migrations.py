"""The schema that the migrations make."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import make_url

from data_mover.domain.errors import ConfigurationError, ServiceUnavailable
from data_mover.domain.proof import Proof
from data_mover.domain.states import EventKind, FileState, Status
from data_mover.store import claims, events, file_lists, host_health, migrations, queue, reports, transitions
from data_mover.store.database import Base, Database, long_transaction
from data_mover.store.postgresql import PunctualConnection
from data_mover.store.transitions import ArrivedFile
from data_mover.store.workers import WorkerProcess
from tests.conftest import new_postgresql_database
from tests.integration.conftest import a_file
from tests.servers.processes import free_port


def test_the_migrations_make_the_schema_of_the_models(database):
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_steps_are_those_that_alembic_finds():
    config = Config()
    config.set_main_option("script_location", "data_mover.store:migrations")
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)

    assert {step.revision for step in scripts.walk_revisions()} == migrations.known_steps()
    assert scripts.get_heads() == [max(migrations.known_steps())]


def test_a_database_without_the_schema_is_reported_with_the_way_out(tmp_path):
    database = Database(make_url(f"sqlite:///{tmp_path}/empty.db"))

    with pytest.raises(ConfigurationError, match="initialize_data_mover_db"):
        migrations.require_newest(database.engine)


def test_a_database_that_does_not_answer_keeps_nobody_from_starting(caplog):
    database = Database(make_url(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"))

    migrations.require_newest(database.engine)

    assert "schema-not-checked" in caplog.text


def test_upgrading_again_changes_nothing(database):
    migrations.upgrade(database.engine)

    assert migrations.is_newest(database.engine)


def test_a_newer_schema_is_called_newer_and_left_alone(database):
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConfigurationError, match="newer than this release"):
        migrations.require_newest(database.engine)
    with pytest.raises(ConfigurationError, match="newer than this release"):
        migrations.upgrade(database.engine)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """The URL of a database without a schema, of each kind."""
    if request.param == "sqlite":
        return make_url(f"sqlite:///{tmp_path}/empty.db")
    return new_postgresql_database(request.getfixturevalue("postgresql_url"))


def test_of_several_upgrades_at_once_each_finds_the_schema_or_makes_it(empty_url):
    url = empty_url.render_as_string(hide_password=False)
    started = [subprocess.Popen([sys.executable, "-c", UPGRADE, url]) for _ in range(3)]

    assert [process.wait(120) for process in started] == [0] * 3

    database = Database(empty_url)
    assert migrations.is_newest(database.engine)
    database.close()


UPGRADE = """
import sys
from sqlalchemy.engine import make_url
from data_mover.store import migrations
from data_mover.store.database import Database
migrations.upgrade(Database(make_url(sys.argv[1])).engine)
"""


def test_a_migration_may_take_longer_than_a_statement_of_every_day(postgresql_url, monkeypatch):
    database = Database(new_postgresql_database(postgresql_url))
    monkeypatch.setattr(PunctualConnection, "answer_timeout_seconds", 0.2)

    with long_transaction(database.engine) as connection:
        assert connection.exec_driver_sql("SELECT 7 FROM pg_sleep(0.5)").scalar() == 7
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1h"
    with pytest.raises(ServiceUnavailable), database.reading() as session:
        session.execute(text("SELECT 7 FROM pg_sleep(0.5)"))
    with database.reading() as session:
        assert session.execute(text("SHOW statement_timeout")).scalar() == "5s"
    database.close()


@pytest.fixture
def previous(empty_url):
    """A database of the previous release, with a job that waits and one that runs and has a path locked."""
    database = Database(empty_url)
    migrations.upgrade(database.engine, "0003")
    with database.writing() as session:
        for statement in PREVIOUS_ROWS:
            session.execute(text(statement))
    yield database
    database.close()


def test_a_database_of_the_previous_release_is_migrated_and_its_jobs_continue(previous):
    migrations.upgrade(previous.engine)

    assert migrations.is_newest(previous.engine)
    assert [complete(previous, take(previous)), complete(previous, running(previous))] == [1, 2]
    with previous.reading() as session:
        assert [reports.report(session, "ann", job_id).status for job_id in (1, 2)] == [Status.COMPLETED] * 2
        assert [line.event for line in events.of_job(session, 1)] == [EventKind.CLAIMED, EventKind.COMPLETED]
        assert [line.number for line in events.of_job(session, 2)] == [1]


def test_a_job_that_ran_before_the_upgrade_is_taken_back_when_its_lease_runs_out(previous):
    migrations.upgrade(previous.engine)
    with previous.writing() as session:
        session.execute(text("UPDATE jobs SET lease_until_ms = 1 WHERE status = 'IN_PROGRESS'"))
        assert transitions.take_back_lost(session, 10) == [(2, Status.PENDING)]

    assert [take(previous).job_id, take(previous).job_id] == [1, 2]


def take(database):
    """Claims the best job."""
    slots = {"disk": 9, "vis": 9}
    with database.writing() as session:
        for name in slots:
            host_health.record_reached(session, name)
        candidate = queue.candidates(session, WorkerProcess(1, "here", 1, "1.0"), queue.Limits(slots))[0]
        return queue.take(session, candidate, WorkerProcess(1, "here", 1, "1.0"), queue.Limits(slots), 30)


def running(database):
    """The claim of the job that was running when the release changed."""
    with database.reading() as session:
        return claims.claim_of(session, 2)


def complete(database, claim):
    """Brings the only file of the job to its final path, and completes the job; its id."""
    proof = Proof(1, "ab", "size")
    with database.writing() as session:
        if not claim.planned:
            assert file_lists.complete_file_list(session, claim, f"/b{claim.job_id}", 0, [a_file(f"/b{claim.job_id}")])
        assert transitions.record_arrived(session, claim, [ArrivedFile(0, proof, FileState.PUBLISHED)])
        assert transitions.complete(session, claim)
    return claim.job_id


_ASKED = (
    "INSERT INTO jobs (id, caller, source, destination, priority, selection, if_exists, submitted_ms, deadline_ms,"
    " lane_id, sources, destination_host, destination_path, planned, bytes_done, files_done, files_total,"
    " failures, losses, not_before_ms, status, phase, attempt, lease_until_ms, worker, started_ms, path)"
    " VALUES ({}, 'ann', '{{}}', '{{}}', 1,"
    """ '{{"match": [], "links": "skip", "checksums": {{}}, "atomic": false}}', 'replace', 1, 4102444800000, 1,"""
    """ '[["disk", "/a"]]', 'vis', '/b', {}, 0, 0, 1, 0, 0, 1, {})"""
)
PREVIOUS_ROWS = [
    "INSERT INTO hosts (name, unreachable, paused) VALUES ('disk', 0, false), ('vis', 0, false)",
    "INSERT INTO lanes (id, caller, hosts) VALUES (1, 'ann', 'disk vis')",
    _ASKED.format(1, "false", "'PENDING', 'queued', 0, NULL, NULL, NULL, NULL"),
    _ASKED.format(2, "true", "'IN_PROGRESS', 'transferring', 3, 4102444800000, 'here:1', 1, '/b2'"),
    "INSERT INTO job_files (job_id, number, kind, state, source_number, source_path, name, path, place, held, attempt)"
    " VALUES (2, 0, 'file', 'transferring', 0, '/a', 'a', '/b2', 'vis:22/b2', true, 0)",
    "INSERT INTO questions (caller, wanted, digest, asked_ms, taken, answered) VALUES ('ann', '{}', 'ab', 1, 0, false)",
]
