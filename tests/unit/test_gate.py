"""One gate for every change of state: nobody but `store.transitions` sets a job's status or phase or a file's state."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import data_mover
from data_mover.store import claims

PACKAGE = Path(data_mover.__file__).parent
GATE = PACKAGE / "store" / "transitions"
MIGRATIONS = PACKAGE / "store" / "migrations"
#: who could reach the database
ROOMS = ("store", "execution", "services", "worker", "checks")
#: the phase of a plan is no job's
PLANS = (PACKAGE / "store" / "plan_requests.py", PACKAGE / "execution" / "plan_requests.py")

#: the columns, and the calls that write a row
STATE = {"status", "phase", "state"}
WRITES = {"values", "ordered_values", "change", "renew", "insert", "insert_if_absent", "dict"}
WRITES |= {"Change", "Job", "JobFile", "execute", "update"}


def test_only_the_gate_sets_the_state_of_jobs_and_files():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for room in ROOMS
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if GATE not in path.parents and MIGRATIONS not in path.parents and path not in PLANS
        for line in assignments(path.read_text(encoding="utf-8"))
    ]

    assert found == []


def test_what_the_gate_does_would_be_found_elsewhere():
    sources = [path.read_text(encoding="utf-8") for path in (GATE / "jobs.py", GATE / "files.py", GATE / "ends.py")]

    assert all(assignments(source) for source in sources)


def test_no_change_of_an_attempt_takes_columns_by_any_name():
    own = [each for each in vars(claims).values() if inspect.isfunction(each) and each.__module__ == claims.__name__]
    functions = [each for each in own if not each.__name__.startswith("_")]
    kinds = {parameter.kind for function in functions for parameter in inspect.signature(function).parameters.values()}

    assert claims.renew in functions
    assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_nobody_else_has_to_do_with_the_database():
    others = [path for path in PACKAGE.iterdir() if path.is_dir() and path.name not in (*ROOMS, "cli", "web", "demo")]

    assert [path for room in others for path in room.rglob("*.py") if "data_mover.store" in path.read_text()] == []


@pytest.mark.parametrize(
    "way",
    [
        "update(Job).values(status='PENDING')",
        "update(models.Job).values(status='PENDING')",
        "update(JobFile).values({'state': 'pending'})",
        "update(Job).values({Job.phase: 'queued'})",
        "update(Job).values({models.Job.phase: 'queued'})",
        "update(Job).values({**values, 'phase': 'queued'})",
        "update(Job).values(dict(phase='queued'))",
        "update(Job).ordered_values((Job.phase, 'queued'))",
        "job.status = 'PENDING'",
        "setattr(job, 'status', 'PENDING')",
        "insert_if_absent(session, Job, {'status': 'PENDING'})",
        "session.add(Job(status='PENDING'))",
        "change(session, claim, phase=phase)",
        "claims.change(session, claim, phase=phase)",
        "session.execute(text('UPDATE jobs SET status = 1'))",
        "session.execute(text('update job_files set state = 1'))",
        "session.execute(update(JobFile), [{'number': 1, 'state': 'failed'}])",
        "values = {'state': 'failed'}",
    ],
)
def test_each_way_to_set_a_state_is_found(way):
    assert assignments(way) != []


def test_who_asks_for_a_state_sets_none():
    assert assignments("select(Job).where(Job.status == 'PENDING')") == []


def assignments(source):
    """The lines of a module that set a state."""
    return [getattr(node, "lineno", 0) for node in ast.walk(ast.parse(source)) if sets_state(node)]


def sets_state(node):
    match node:
        case ast.Assign(targets=targets):
            return any(isinstance(each, ast.Attribute) and each.attr in STATE for each in targets)
        case ast.AugAssign(target=ast.Attribute(attr=name)) | ast.AnnAssign(target=ast.Attribute(attr=name)):
            return name in STATE
        case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=name), *_]):
            return name in STATE
        case ast.Call(func=function, args=arguments, keywords=keywords):
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            return called in WRITES and (any(each.arg in STATE for each in keywords) or any(map(is_pair, arguments)))
        case ast.Dict(keys=keys):
            return any(is_state(key) for key in keys)
        case ast.Constant(value=str(text)):
            return re.search(r"update\s+(jobs|job_files)\b", text, re.IGNORECASE) is not None
    return False


def is_state(key):
    match key:
        case ast.Constant(value=name):
            return name in STATE
        case ast.Attribute(value=ast.Name(id="Job" | "JobFile") | ast.Attribute(attr="Job" | "JobFile"), attr=name):
            return name in STATE
    return False


def is_pair(argument):
    """A column and its new value, as `ordered_values` takes them."""
    return isinstance(argument, ast.Tuple) and bool(argument.elts) and is_state(argument.elts[0])
