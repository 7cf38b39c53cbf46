"""What `docs/how-to/operate.md` shows operators to run against the database."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from data_mover.domain.errors import NoSuchFile
from data_mover.domain.proof import Proof
from data_mover.domain.states import FileState
from data_mover.store import file_lists, submissions, transitions
from data_mover.store.transitions import ArrivedFile
from tests.integration.conftest import a_file, a_submission

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "operate.md"
BLOCKS = [block.group(1) for block in re.finditer(r"```sql .*?\n(.*?)```", PAGE.read_text(), re.DOTALL)]


@pytest.fixture
def run(database):
    """Runs the statements of a block; the rows of the last one that has any."""

    def run_(block):
        rows: list[Any] = []
        with database.writing() as session:
            dialect = session.get_bind().dialect.name
            for statement in block.split(";"):
                if dialect == "sqlite":
                    statement = statement.replace("extract(epoch FROM now())", "unixepoch()")
                if statement.strip() and statement.strip() not in ("BEGIN", "COMMIT"):
                    result = session.execute(text(statement))
                    rows = result.all() if result.returns_rows else rows
        return rows

    return run_


def test_the_page_has_statements():
    assert len(BLOCKS) == 2


def test_the_queries_count_what_waits(run, written):
    for _ in range(2):
        written(submissions.add, a_submission())

    assert run(BLOCKS[0])[0][0] == 2


def test_old_jobs_go_with_their_files_and_events_and_others_stay(run, database, written, claim):
    old, live = (written(submissions.add, a_submission()) for _ in range(2))
    claimed = claim()
    written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b")])
    proof = Proof(1, "ab", "size")
    written(transitions.record_arrived, claimed, [ArrivedFile(0, proof, FileState.PUBLISHED, None)])
    written(transitions.complete, claimed)
    written(transitions.put_back, claim(), NoSuchFile("a"), 1)
    block = BLOCKS[1].replace("1767225600", "99999999999")

    run(block)

    with database.reading() as session:
        jobs = {row[0] for row in session.execute(text("SELECT id FROM jobs"))}
        left = {row[0] for row in session.execute(text("SELECT job_id FROM events UNION SELECT job_id FROM job_files"))}
    assert (claimed.job_id, jobs) == (old, {live})
    assert left <= jobs
