"""How the databases look for rows: no statement of every day reads a whole table that grows."""

import re
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.engine import make_url

from data_mover.domain.errors import HostUnreachable, NoSuchFile
from data_mover.domain.proof import Proof
from data_mover.domain.states import FileKind, FileState, Phase
from data_mover.store import (
    claims,
    events,
    figures,
    file_lists,
    files,
    host_health,
    plan_requests,
    queue,
    reports,
    submissions,
    temporary_files,
    transitions,
)
from data_mover.store.database import Database
from data_mover.store.models import Job
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile, PathLock
from tests.conftest import copied
from tests.integration.conftest import LEASE_SECONDS, a_file, a_submission, claimer, writer

#: the tables that grow without end, and the indexes of them that are small and may be read as a whole
LARGE = {"jobs", "job_files", "events"}
SMALL_INDEXES = {"ix_jobs_ending", "uq_job_files_locked"}
#: what the database knows of how large its tables are
STATISTICS = ["with statistics", "without", "with those of a new service"]


@pytest.fixture(
    scope="module", params=[(kind, known) for kind in ("sqlite", "postgresql") for known in STATISTICS], ids=" ".join
)
def template_in_use(request, tmp_path_factory):
    """The URL of a database that has jobs of several callers in all states, of each kind; the statistics know of
    them, or of one alone, or there are none."""
    kind, known = request.param
    url = copied(request.getfixturevalue(f"{kind}_template"), tmp_path_factory.mktemp("in_use"))
    database = Database(url)
    written = writer(database)
    claim = claimer(written)
    if known == "with those of a new service":
        first = written(submissions.add, a_submission(key="first"))
        written(file_lists.complete_file_list, claim(), "/first", 0, [a_file("/first")])
        database.optimize()
        written(transitions.cancel, first)
    for number in range(40):
        written(submissions.add, a_submission(caller=f"caller {number % 3}", key=f"{number}"))
    for number in range(18):
        claimed = claim()
        planned = [a_file(f"/b/{number}/{each}") for each in range(200)]
        written(file_lists.complete_file_list, claimed, "/b", 0, planned)
        written(transitions.lock_paths, claimed, [PathLock(0, f"vis:/b/{number}")], LEASE_SECONDS)
        if number % 3 == 0:
            written(transitions.fail, claimed, NoSuchFile.code, "disk:/a")
        elif number % 3 == 1:
            written(transitions.put_back, claimed, HostUnreachable("vis"), 3_600)
    if known == "with statistics":
        written(lambda session: session.execute(text("ANALYZE")) and None)
    database.close()
    return url


@pytest.fixture
def database_url(template_in_use, tmp_path):
    return copied(template_in_use, tmp_path)


@pytest.fixture
def seen(database):
    """The statements that have been run from now on, each with one set of its parameters."""
    statements: dict[str, Any] = {}

    def note(connection, cursor, statement, parameters, context, executemany):
        statements.setdefault(statement, parameters[0] if executemany else parameters)

    for engine in {database.engine, database.writing_engine}:
        event.listen(engine, "after_cursor_execute", note)
    yield statements
    for engine in {database.engine, database.writing_engine}:
        event.remove(engine, "after_cursor_execute", note)


def test_a_move_from_its_submission_to_its_end_reads_no_whole_table(database, seen, written, claim):
    job_id = written(submissions.add, a_submission(key="new"))
    written(submissions.find_by_key, "ann", "new")
    claimed = claim()
    left = NewTemporaryFile(0, FileKind.FILE, "/.data_mover-1")
    proof = Proof(1, "ab", "size")
    written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b")])
    written(figures.figures, claimed.job_id)
    written(files.unsettled, claimed, (-1, -1))
    written(files.twins, claimed)
    written(files.directories, claimed, None)
    written(files.directories_to_find, claimed, -1)
    written(transitions.record_found_directories, claimed, [], [])
    written(transitions.reserve, claimed, LEASE_SECONDS)
    written(transitions.lock_paths, claimed, [PathLock(0, "vis:/b")], LEASE_SECONDS)
    written(temporary_files.left_by_earlier_attempts, claimed)
    written(temporary_files.record_temporary_files, claimed, [left], LEASE_SECONDS)
    written(claims.renew, claimed, LEASE_SECONDS)
    written(transitions.mark_publishing, claimed, {0: proof}, Phase.PUBLISHING, LEASE_SECONDS)
    written(claims.is_marked, claimed)
    written(transitions.record_arrived, claimed, [ArrivedFile(0, proof, FileState.PUBLISHED, "/.data_mover-1")])
    written(transitions.complete, claimed)
    written(transitions.put_back, claim(), HostUnreachable("vis"), 1)
    written(transitions.fail, claim(), NoSuchFile.code, "disk:/a")
    written(transitions.cancel, job_id)

    assert whole_tables(database, seen) == []


def test_whoever_asks_makes_nobody_read_a_whole_table(database, seen, written, claim):
    job_id = written(submissions.add, a_submission())
    written(reports.report, "ann", job_id)
    written(reports.newest, "caller 1", 50)
    written(reports.files, job_id, None, 0, 100)
    written(reports.files, job_id, FileState.FAILED, 0, 100)
    written(events.of_job, job_id)
    written(submissions.find_live_retry, job_id)
    written(plan_requests.ask, "ann", claim())
    written(plan_requests.take, LEASE_SECONDS)

    assert whole_tables(database, seen) == []


def test_a_sweep_reads_no_whole_table(database, seen, written):
    written(queue.runnable)
    written(transitions.take_back_lost, 50)
    written(transitions.end_overdue, 50)
    written(transitions.ending_jobs, 50)
    written(host_health.probe_due)
    written(temporary_files.temporary_files_due)
    written(plan_requests.waiting)

    assert whole_tables(database, seen) == []


def test_sqlite_knows_of_large_tables_what_it_needs_and_nothing_of_small_ones(tmp_path):
    database = Database(make_url(f"sqlite:///{tmp_path}/jobs.db"))
    with database.writing() as session:
        for name, rows in (("small", 500), ("large", 5000)):
            session.execute(text(f"CREATE TABLE {name} (number INTEGER, name TEXT)"))
            session.execute(text(f"CREATE INDEX ix_{name} ON {name} (name)"))
            session.execute(text(f"INSERT INTO {name} VALUES (:number, 'a')"), [{"number": n} for n in range(rows)])

    database.optimize()
    database.optimize()

    with database.reading() as session:
        assert session.scalars(text("SELECT tbl FROM sqlite_stat1")).all() == ["large"]
    database.close()


def test_a_whole_table_that_is_read_would_be_found(database, seen, written):
    written(lambda session: session.scalars(select(Job.id).where(Job.label == "x")).all())

    assert len(whole_tables(database, seen)) == 1


def whole_tables(database, statements):
    """The statements that read all rows of a table that grows, each with its plan."""
    found, is_sqlite = [], database.engine.dialect.name == "sqlite"
    with database.engine.connect() as connection:
        if not is_sqlite:  # of a few rows PostgreSQL would read all, whatever indexes there are
            for way in "seqscan", "mergejoin", "hashjoin":
                connection.exec_driver_sql(f"SET enable_{way} = off")
        for statement, parameters in list(statements.items()):
            if not re.match("SELECT|UPDATE|DELETE|INSERT", statement):
                continue
            explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN (FORMAT JSON) "
            rows = connection.exec_driver_sql(explain + statement, parameters).all()
            plan = [row[3] for row in rows] if is_sqlite else rows[0][0][0]["Plan"]
            if scans := [*(sqlite_scans(plan) if is_sqlite else postgresql_scans(plan))]:
                found.append((statement, scans))
    return found


def sqlite_scans(plan):
    for step in plan:
        scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
        if scan and re.sub(r"_\d+$", "", scan[1]) in LARGE and scan[2] not in SMALL_INDEXES:
            yield step


def postgresql_scans(node):
    """Sequential scans, and those that go through the whole of an index."""
    conditions = node.keys() & {"Index Cond", "Recheck Cond"}
    is_scan = node["Node Type"].endswith("Scan") and node.get("Relation Name") in LARGE
    if is_scan and not conditions and node.get("Index Name") not in SMALL_INDEXES:
        yield f"{node['Node Type']} {node['Relation Name']} {node.get('Index Name')} {node.get('Filter')}"
    for child in node.get("Plans", ()):
        yield from postgresql_scans(child)
