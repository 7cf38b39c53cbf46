"""Every change of every job's status, written down by the database itself."""

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
    """The changes that no job may make: out of a terminal state, or an attempt's number that does not grow by one."""
    rows = session.execute(text("SELECT job_id, old_status, new_status, attempts FROM test_transitions")).all()
    return [
        f"job {job_id} went from {old} to {new}, its attempt by {attempts}"
        for job_id, old, new, attempts in rows
        if (old, new) not in ALLOWED or attempts != (new == "IN_PROGRESS")
    ]
