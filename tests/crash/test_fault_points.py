"""Each fault point, struck in each way: what was acknowledged is done, once, and nothing is left behind."""

import itertools
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from xmlrpc.client import Error

import pytest

from data_mover.execution.file_list import AT_A_TIME
from tests.crash.cargo import Cargo
from tests.crash.matrix import (
    ACTIONS,
    FOLDER_POINTS,
    LIST_POINTS,
    LISTING_POINTS,
    QUICK,
    QUICK_CARGOES,
    SIZE_BYTES,
    WEB_POINTS,
    WORKER_POINTS,
    Fault,
)
from tests.crash.supervisor import strike
from tests.servers.processes import eventually

_numbers = itertools.count(1)


def cases(points, *hosts, kinds=()):
    how = itertools.product(hosts, kinds) if kinds else itertools.product(hosts)
    return [marked(Fault(*fault), *each) for *fault, each in itertools.product(points, ACTIONS, how)]


def marked(fault, *how):
    is_quick = (fault, *how) in QUICK | QUICK_CARGOES
    return pytest.param(fault, *how, id="-".join((*fault, *how)), marks=[] if is_quick else pytest.mark.soak)


@pytest.fixture
def struck(world):
    """Sets what is to happen to the next process that reaches a point; afterwards everybody is awake."""
    yield world.order
    world.supervisor.wake()
    for order in world.orders.iterdir():
        order.unlink()


@pytest.mark.parametrize(("fault", "host"), cases(WORKER_POINTS, "vis", "shelf"))
def test_a_worker_that_is_struck_loses_nothing_and_publishes_once(world, struck, fault, host, time):
    world.ready()
    source = world.source(f"{fault.point}-{fault.action}-{next(_numbers)}", SIZE_BYTES, fault)
    world.old(host, source.name)

    struck(*fault)
    job = ended_though_struck(world, world.submit(source, host), fault)

    assert job["status"] == "COMPLETED"
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []


@pytest.mark.parametrize(
    ("fault", "host", "kind"),
    [
        *cases(WORKER_POINTS, "vis", "shelf", kinds=["folder", "folder-at-once"]),
        *cases(LIST_POINTS, "vis", "shelf", kinds=["list"]),
        *cases(FOLDER_POINTS, "vis", "shelf", kinds=["folder-at-once", "list-at-once"]),
    ],
)
def test_many_files_arrive_whole_and_once_though_their_worker_is_struck(world, struck, fault, host, kind, time):
    world.ready()
    cargo = cargo_of(world, kind, f"{kind}-{fault.point}-{fault.action}-{next(_numbers)}", host)

    if fault.point == "tree-taken":  # there must be an earlier attempt
        struck("tree-marked", "kill")
    struck(*fault)
    job = ended_though_struck(world, world.submit_cargo(cargo, host), fault)

    assert job["status"] == "COMPLETED"
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []


@pytest.mark.parametrize(("fault", "host"), cases(LISTING_POINTS, "shelf"))
def test_a_folder_is_listed_once_more_though_a_worker_is_struck_in_the_middle_of_that(world, struck, fault, host, time):
    world.ready()
    name = f"{fault.point}-{fault.action}-{next(_numbers)}"
    cargo = Cargo.of_folder(world.folder(name, [1] * (AT_A_TIME + 1), name), world.destination(host, name))

    struck(*fault)
    job = ended_though_struck(world, world.submit_cargo(cargo, host), fault)

    assert job["status"] == "COMPLETED"
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []


@pytest.mark.parametrize(("fault", "host"), cases(WEB_POINTS, "shelf"))
def test_a_request_whose_answer_is_lost_has_made_no_job_or_a_whole_one(world, struck, fault, host, time):
    world.ready()
    source = world.source(f"{fault.point}-{fault.action}-{next(_numbers)}", 1000, fault)

    world.order(*fault)
    with ThreadPoolExecutor() as client:
        asked = client.submit(world.submit, source, host)
        eventually(lambda: world.struck(fault.point), f"somebody reaches {fault.point}")
        if fault.action == "stop":
            [asleep] = eventually(world.supervisor.stopped, "it is stopped")
            strike(asleep, signal.SIGCONT)
        answered = asked.exception() is None

    if not answered:
        assert isinstance(asked.exception(), OSError | HTTPException | Error)
    assert answered or fault.action != "stop"
    world.ready()
    job_id = world.find(world.destination(host, source.name))
    assert (job_id is None) == (fault.point in ("begun", "inserted") and not answered)
    if job_id is not None:
        assert world.service.ended(job_id)["status"] == "COMPLETED"
        world.moves[job_id] = Cargo.of_file(source, world.destination(host, source.name))
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []


LATE = [("tree-begun", "vis"), ("tree-begun", "shelf"), ("opened", "vis"), ("opened", "shelf")]
QUICK_LATE = ("tree-begun", "vis")


@pytest.mark.parametrize(
    ("point", "host"), [pytest.param(*each, marks=[] if each == QUICK_LATE else pytest.mark.soak) for each in LATE]
)
def test_who_wakes_when_nothing_is_on_record_any_more_leaves_nothing_behind(world, struck, point, host, time):
    """It is about to make a directory of a folder that has appeared without it."""
    world.ready()
    cargo = cargo_of(world, "folder-at-once", f"late-{point}-{next(_numbers)}", host)

    struck(point, "stop")
    job_id = world.submit_cargo(cargo, host)
    eventually(lambda: world.struck(point), f"somebody reaches {point}")
    asleep = world.asleep()
    job = world.service.ended(job_id)
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    woken(world, asleep)

    assert job["status"] == "COMPLETED"
    assert world.violations() == []


@pytest.mark.parametrize("host", ["vis", pytest.param("shelf", marks=pytest.mark.soak)])
def test_a_folder_that_has_appeared_is_not_taken_for_what_a_late_one_makes(world, struck, host, time):
    """While one attempt has let the folder appear and cannot say so, an older one begins to build it."""
    world.ready()
    cargo = cargo_of(world, "folder-at-once", f"twice-{next(_numbers)}", host)

    struck("tree-begun", "stop")
    job_id = world.submit_cargo(cargo, host)
    eventually(lambda: world.struck("tree-begun"), "one is about to build")
    older = world.asleep()
    struck("tree-renamed", "stop")
    eventually(lambda: world.struck("tree-renamed"), "another has let it appear")
    both = eventually(lambda: len(world.asleep()) == 2 and world.asleep(), "both are asleep")
    wake(older)
    job = world.service.ended(job_id)
    woken(world, both)

    assert job["status"] == "COMPLETED"
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []


def cargo_of(world, kind, name, host):
    """Several files. A list is of a folder, of a file, and of another one that is on the web."""
    sizes_bytes = [1000, SIZE_BYTES, 70_000, 0]
    is_atomic = kind.endswith("at-once")
    final = world.destination(host, name)
    if kind.startswith("folder"):
        return Cargo.of_folder(world.folder(name, sizes_bytes, name), final, is_atomic)
    folder = world.folder(f"{name}-folder", sizes_bytes[2:], name)
    files = [world.source(f"{name}-{size}", size, name) for size in sizes_bytes[:2]]
    return Cargo.of_list([folder, *files], final, is_atomic, from_web=files[1:])


def ended_though_struck(world, job_id, fault):
    """The job as it is at the end; whoever was stopped has woken since and is done."""
    eventually(lambda: world.struck(fault.point), f"somebody reaches {fault.point}")
    asleep = world.asleep() if fault.action == "stop" else []
    job = world.service.ended(job_id)
    woken(world, asleep)
    return job


def woken(world, asleep):
    """Returns once all have woken and are done."""
    wake(asleep)
    eventually(lambda: all(is_over(world, pid) for pid in asleep), "the woken ones have ended their loops")


def wake(asleep):
    for pid in asleep:
        strike(pid, signal.SIGCONT)


def is_over(world, pid):
    """A work-horse has ended; a worker that was stopped itself has none."""
    return not os.path.exists(f"/proc/{pid}") or pid in map(world.supervisor.pid, world.supervisor.names("worker"))
