"""One gate for every change of state: nobody but `store.transitions` sets a job's status or phase or a file's state."""

import ast
from pathlib import Path

import data_mover

PACKAGE = Path(data_mover.__file__).parent
GATE = PACKAGE / "store" / "transitions"
MIGRATIONS = PACKAGE / "store" / "migrations"

#: the columns, and the calls that write a row
STATE = {"status", "phase", "state"}
WRITES = {"values", "change", "renew", "insert", "insert_if_absent", "Job", "JobFile", "execute", "update"}


def test_only_the_gate_sets_the_state_of_jobs_and_files():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if GATE not in path.parents and MIGRATIONS not in path.parents
        for line in assignments(path.read_text(encoding="utf-8"))
    ]

    assert found == []


def test_what_the_gate_does_would_be_found_elsewhere():
    sources = [path.read_text(encoding="utf-8") for path in (GATE / "jobs.py", GATE / "files.py", GATE / "ends.py")]

    assert all(assignments(source) for source in sources)


def test_each_way_to_set_a_state_is_found():
    imports = "from data_mover.store.models import Job, JobFile\n"
    ways = [
        "update(Job).values(status='PENDING')",
        "update(JobFile).values({'state': 'pending'})",
        "update(Job).values({Job.phase: 'queued'})",
        "update(Job).values({**values, 'phase': 'queued'})",
        "job.status = 'PENDING'",
        "setattr(job, 'status', 'PENDING')",
        "insert_if_absent(session, Job, {'status': 'PENDING'})",
        "session.add(Job(status='PENDING'))",
        "change(session, claim, phase=phase)",
        "session.execute(text('UPDATE jobs SET status = 1'))",
        "session.execute(update(JobFile), [{'number': 1, 'state': 'failed'}])",
        "values = {'state': 'failed'}",
    ]

    assert [way for way in ways if not assignments(imports + way)] == []
    assert assignments(imports + "select(Job).where(Job.status == 'PENDING')") == []


def assignments(source):
    """The lines of a module that writes rows of jobs or files, and that set a state."""
    tree = ast.parse(source)
    if not any(writes_rows(node) for node in ast.walk(tree)):
        return []
    return [getattr(node, "lineno", 0) for node in ast.walk(tree) if sets_state(node)]


def writes_rows(node):
    """Whether the node imports the rows or what changes them."""
    rows = {"Job", "JobFile", "Event"}
    return isinstance(node, ast.ImportFrom) and (
        ((node.module or "").endswith("store.models") and rows & {name.name for name in node.names})
        or (node.module or "").startswith("data_mover.store.transitions")
    )


def sets_state(node):
    match node:
        case ast.Assign(targets=targets):
            return any(isinstance(each, ast.Attribute) and each.attr in STATE for each in targets)
        case ast.AugAssign(target=ast.Attribute(attr=name)) | ast.AnnAssign(target=ast.Attribute(attr=name)):
            return name in STATE
        case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=name), *_]):
            return name in STATE
        case ast.Call(func=function, keywords=keywords):
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            return called in WRITES and any(keyword.arg in STATE for keyword in keywords)
        case ast.Dict(keys=keys):
            return any(is_state(key) for key in keys)
        case ast.Constant(value=str(text)):
            return "UPDATE jobs" in text or "UPDATE job_files" in text
    return False


def is_state(key):
    match key:
        case ast.Constant(value=name) | ast.Attribute(value=ast.Name(id="Job" | "JobFile"), attr=name):
            return name in STATE
    return False
