"""Every change of every job's status, written down by the database itself."""

from collections import Counter

from sqlalchemy import text
from sqlalchemy.orm import Session

from data_mover.store.database import Database

ALLOWED = {
    ("PENDING", "IN_PROGRESS"),
    ("PENDING", "FAILED"),
    ("PENDING", "CANCELLED"),
    ("IN_PROGRESS", "PENDING"),
    ("IN_PROGRESS", "COMPLETED"),
    ("IN_PROGRESS", "FAILED"),
    ("IN_PROGRESS", "CANCELLED"),
}

_TABLE = "CREATE TABLE test_transitions (job_id INTEGER, old_status TEXT, new_status TEXT, attempts INTEGER)"
_INSERT = "INSERT INTO test_transitions VALUES (OLD.id, OLD.status, NEW.status, NEW.attempt - OLD.attempt);"
_CHANGED = "OLD.status <> NEW.status OR OLD.attempt <> NEW.attempt"
_TRIGGERS = {
    "sqlite": [f"CREATE TRIGGER test_note AFTER UPDATE ON jobs WHEN {_CHANGED} BEGIN {_INSERT} END"],
    "postgresql": [
        f"CREATE FUNCTION test_note() RETURNS trigger AS $$ BEGIN {_INSERT} RETURN NULL; END $$ LANGUAGE plpgsql",
        f"CREATE TRIGGER test_note AFTER UPDATE ON jobs FOR EACH ROW WHEN ({_CHANGED}) EXECUTE FUNCTION test_note()",
    ],
}


def record_transitions(database: Database) -> None:
    """From now on each change is on record, whoever makes it."""
    with database.writing() as session:
        for statement in [_TABLE, *_TRIGGERS[database.engine.dialect.name]]:
            session.execute(text(statement))


def backward_steps(session: Session) -> list[str]:
    """The changes that no job may make: out of a terminal state, an attempt's number that does not grow by one, or a
    change that the job's log lacks."""
    rows = session.execute(text("SELECT job_id, old_status, new_status, attempts FROM test_transitions")).all()
    steps = [
        f"job {job_id} went from {old} to {new}, its attempt by {attempts}"
        for job_id, old, new, attempts in rows
        if (old, new) not in ALLOWED or attempts != (new == "IN_PROGRESS")
    ]
    logged = session.execute(text(_LOGGED)).all()
    reported = Counter(tuple(row) for row in logged)
    seen = Counter((job_id, old, new) for job_id, old, new, _ in rows)
    wrong = [f"job {job_id} went from {old} to {new}, and its log differs" for job_id, old, new in reported - seen]
    wrong += [f"job {job_id} went from {old} to {new} without an event" for job_id, old, new in seen - reported]
    gaps = session.execute(text(_GAPS)).all()
    return steps + wrong + [f"the log of job {job_id} has {rows} rows of {events}" for job_id, rows, events in gaps]


_LOGGED = "SELECT job_id, from_status, to_status FROM events WHERE from_status <> to_status"
_GAPS = (
    "SELECT jobs.id, count(events.id), jobs.events FROM jobs LEFT JOIN events ON events.job_id = jobs.id"
    " GROUP BY jobs.id, jobs.events HAVING count(events.id) <> jobs.events OR max(events.number) <> jobs.events"
)
