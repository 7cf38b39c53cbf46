"""Whoever can write to Redis wakes workers, and does nothing else: forged jobs are dropped, and real moves continue."""

import json
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from redis import Redis
from rq import Callback, Queue, Retry
from rq.command import send_kill_horse_command, send_shutdown_command
from rq.job import JobStatus

from data_mover.doorbell import ANSWER, Doorbell, redis_connection
from tests.servers.deployment import deployment, host_table
from tests.servers.processes import end, eventually, free_port
from tests.servers.redis import redis_server

QUEUE = "rq:queue:moves"
#: a function whose module prints a poem when it is imported
TELLTALE = "this.s"
POEM = "The Zen of Python"
GARBAGE = b"\xff\xfe\x00\x80 garbage \x1b[2J\n"

#: fields of a job that RQ reads when a worker takes it
FIELDS = """
    data created_at enqueued_at started_at ended_at last_heartbeat status origin worker_name description group_id result
    timeout result_ttl failure_ttl ttl meta retries_left number_of_retries retry_intervals repeats_left repeat_intervals
    dependency_id dependency_ids allow_dependency_failures enqueue_at_front webhooks exc_info rate_limit_key
    rate_limit_concurrency success_callback_name success_callback_timeout failure_callback_name stopped_callback_name
"""

#: keys that RQ reads or writes, without those of one worker
KEYS = """
    rq:queue:moves rq:queue:moves:intermediate rq:queues rq:workers rq:workers:moves rq:suspended rq:wip:moves
    rq:finished:moves rq:failed:moves rq:deferred:moves rq:ready:moves rq:scheduled:moves rq:canceled:moves
    rq:clean_registries:moves rq:clean_groups rq:groups rq:rate_limits rq:scheduler-lock:moves
"""

#: what follows the name of a worker in its keys
ENDS = ("", ":executions")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A service with one worker, and a Redis of its own into which everybody may write. The worker itself listens
    again after each doorbell job."""
    base, port = tmp_path_factory.mktemp("forged"), free_port()
    for name in ("disk", "inbox"):
        (base / name).mkdir()
    (base / "disk" / "small").write_bytes(b"koala")
    (base / "disk" / "large").write_bytes(bytes(6_000_000))
    local = {"protocol": "local", "roles": ["source", "destination"]}
    registry = (
        host_table("disk", {**local, "root": base / "disk"})
        + host_table("inbox", {**local, "root": base / "inbox"})
        + host_table("slow", {**local, "root": base / "inbox", "bandwidth": "2MB/s"})
    )
    with (
        redis_server(base / "redis", port) as url,
        deployment(base / "service", url, registry, extra="data_mover.claim_on_seconds = 0") as service,
        Redis.from_url(url) as connection,
    ):
        service.start_web()
        service.start_sweeper()
        service.start_worker()
        yield SimpleNamespace(
            service=service, redis=connection, url=url, mark=base / "mark", numbers=iter(range(1000)), worker=None
        )


@pytest.fixture
def connection(world):
    """Redis, once a worker listens; afterwards nothing may have been executed and the same worker moves files."""
    world.worker = world.service.workers[-1]
    if world.worker.poll() is not None:
        world.redis.flushdb()
        world.worker = world.service.start_worker()
    eventually(lambda: names_of_workers(world), "a worker has registered")
    yield world.redis
    assert moved(world)["status"] == "COMPLETED"
    assert world.worker.poll() is None, world.service.log("worker")
    assert not world.mark.exists()
    assert POEM not in world.service.log("worker")


def names_of_workers(world):
    members = world.redis.smembers("rq:workers:moves") if world.redis.type("rq:workers:moves") == b"set" else ()
    return [key.decode().removeprefix("rq:worker:") for key in members if key.startswith(b"rq:worker:")]


def moved(world):
    """A real move, once it has ended."""
    with world.service.proxy as proxy:
        job_id = proxy.move("local://disk/small", f"local://inbox/{next(world.numbers)}")["id"]
    return world.service.ended(job_id, 30)


def dropped(world):
    """How often a worker has reported that something was forged."""
    return world.service.log("worker").count("doorbell-forged")


def pickled(mark):
    """What makes a directory of that name when it is read."""

    class Mark:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    return pickle.dumps(Mark())


def payload(function, *arguments):
    return json.dumps([function, None, arguments, {}]).encode()


def push(connection, **fields):
    """A job as RQ would have it, with these fields."""
    job_id = uuid4().hex
    stamp = "2026-01-01T00:00:00.000000Z"
    fields = {"created_at": stamp, "enqueued_at": stamp, "origin": "moves", "status": "queued", "timeout": -1, **fields}
    connection.hset(f"rq:job:{job_id}", mapping=fields)
    connection.rpush(QUEUE, job_id)
    return job_id


FORGED = {
    "pickle of RQ": lambda c, mark: Queue("moves", connection=c).enqueue(os.mkdir, str(mark)),
    "pickle": lambda c, mark: push(c, data=pickled(mark)),
    "compressed pickle": lambda c, mark: push(c, data=zlib.compress(pickled(mark))),
    "function of the system": lambda c, mark: push(c, data=zlib.compress(payload("os.system", f"mkdir {mark}"))),
    "function to be imported": lambda c, mark: push(c, data=payload(TELLTALE)),
    "our function with arguments": lambda c, mark: push(c, data=payload(ANSWER, str(mark))),
    "our function with an object": lambda c, mark: push(c, data=json.dumps([ANSWER, "x", [], {}]).encode()),
    "callbacks of RQ": lambda c, mark: Queue("moves", connection=c, serializer="json").enqueue(
        "os.getcwd",
        retry=Retry(3),
        on_success=Callback(TELLTALE),
        on_failure=Callback(TELLTALE),
        on_stopped=Callback(TELLTALE),
    ),
    "no job": lambda c, mark: c.rpush(QUEUE, uuid4().hex),
    "garbage for an id": lambda c, mark: c.rpush(QUEUE, GARBAGE),
    "an id of 10 MB": lambda c, mark: c.rpush(QUEUE, b"x" * 10_000_000),
    "a job that is a list": lambda c, mark: (c.rpush("rq:job:list", GARBAGE), c.rpush(QUEUE, "list")),
    "garbage in all fields": lambda c, mark: push(c, **dict.fromkeys(FIELDS.split(), GARBAGE)),
}


def test_rq_itself_executes_what_is_forged_here(world, tmp_path):
    """Else the tests below would prove nothing."""
    url, mark = world.url.removesuffix("/0") + "/1", tmp_path / "mark"
    program = [str(Path(sys.executable).parent / "rq"), "worker", "--burst", "--url", url, "moves"]
    with Redis.from_url(url) as connection:
        FORGED["pickle"](connection, mark)
        Queue("moves", connection=connection).enqueue("os.getcwd", on_success=Callback(TELLTALE))

    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)

    assert mark.exists()
    assert POEM in ended.stdout


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_job_is_dropped_and_said_so(world, connection, forge):
    before = dropped(world)

    forge(connection, world.mark)

    eventually(lambda: dropped(world) > before, "it is reported")
    assert "\x1b[2J" not in world.service.log("worker")


ADDED = {
    "pickled meta": lambda mark: {"meta": pickled(mark), "result": pickled(mark)},
    "callbacks": lambda mark: {f"{when}_callback_name": TELLTALE for when in ("success", "failure", "stopped")},
    "retries, repeats and a time-out": lambda mark: {
        "retries_left": 1000,
        "retry_intervals": "[0]",
        "repeats_left": 1000,
        "repeat_intervals": "[0]",
        "timeout": 1,
        "result_ttl": -1,
    },
    "dependencies, a group and a rate limit": lambda mark: {
        "dependency_ids": '["x"]',
        "group_id": "x",
        "rate_limit_key": "x",
        "rate_limit_concurrency": 1,
    },
    "garbage": lambda mark: dict.fromkeys(set(FIELDS.split()) - {"data"}, GARBAGE),
}


@pytest.mark.parametrize("add", ADDED.values(), ids=ADDED)
def test_what_is_added_to_the_doorbells_own_job_is_not_read(world, connection, add):
    woken = world.service.log("worker").count("answer_doorbell")

    job_id = push(connection, data=zlib.compress(payload(ANSWER)), **add(world.mark))

    eventually(lambda: world.service.log("worker").count("answer_doorbell") > woken, "the worker was woken")
    eventually(lambda: not connection.exists(f"rq:job:{job_id}"), "nothing of it is kept")


def test_a_payload_that_unpacks_to_200_mb_is_not_unpacked(world, connection):
    before = dropped(world), peak_kib(world.worker)

    push(connection, data=zlib.compress(bytes(200_000_000)))

    eventually(lambda: dropped(world) > before[0], "it is reported")
    assert peak_kib(world.worker) < before[1] + 20_000


def peak_kib(process):
    return int(Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def test_a_crowd_of_forged_jobs_costs_a_few_lines(world, connection):
    before = dropped(world)
    for _ in range(100):
        connection.rpush(QUEUE, *(f"forged-{number}" for number in range(1000)))

    assert moved(world)["status"] == "COMPLETED"
    eventually(lambda: connection.llen(QUEUE) < 5, "the queue is empty")
    assert dropped(world) < before + 200


SHAPES = {
    "string": lambda connection, key: connection.set(key, GARBAGE),
    "list": lambda connection, key: connection.rpush(key, GARBAGE),
    "set": lambda connection, key: connection.sadd(key, GARBAGE),
    "hash": lambda connection, key: connection.hset(key, GARBAGE, GARBAGE),
    "sorted set": lambda connection, key: connection.zadd(key, {GARBAGE: 1}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_garbage_of_any_type_in_every_key_and_a_worker_that_starts_with_it(world, connection, shape):
    """An idle worker sees some of it only when it looks up, so another one starts with all of it."""
    spoil(connection, shape, [f"rq:worker:{name}{end}" for name in names_of_workers(world) for end in ENDS])

    assert moved(world)["status"] == "COMPLETED"
    assert world.worker.poll() is None, world.service.log("worker")
    spoil(connection, shape)
    end(world.worker)
    assert world.worker.returncode == 0, world.service.log("worker")
    world.worker = world.service.start_worker()


def spoil(connection, shape, more=()):
    """Puts garbage into every key, at one moment."""
    with connection.pipeline() as pipeline:
        for key in [*KEYS.split(), *more]:
            pipeline.delete(key)
            SHAPES[shape](pipeline, key)
        pipeline.execute()


def test_what_waits_in_the_registers_of_rq_is_left_alone(world, connection):
    """RQ itself runs callbacks of jobs whose worker seems to be dead, and reads their pickles."""
    end(world.worker)
    started = {"status": "started", "failure_callback_name": TELLTALE, "retries_left": 3}
    forged = [
        push(connection, data=pickled(world.mark), meta=pickled(world.mark), **{**started, "status": status.value})
        for status in JobStatus
    ]
    connection.delete(*KEYS.split())
    for register in ("wip", "finished", "failed", "deferred", "ready", "scheduled", "canceled"):
        connection.zadd(
            f"rq:{register}:moves", {f"{job_id}:x" if register == "wip" else job_id: 1 for job_id in forged}
        )
    connection.rpush(f"{QUEUE}:intermediate", *forged)

    world.worker = world.service.start_worker()

    assert moved(world)["status"] == "COMPLETED"
    assert all(connection.exists(f"rq:job:{job_id}") for job_id in forged)


def test_no_command_is_obeyed_while_a_worker_copies(world, connection):
    with world.service.proxy as proxy:
        job_id = proxy.move("local://disk/large", f"local://slow/{next(world.numbers)}")["id"]
        eventually(lambda: proxy.check(job_id)["bytes_done"] > 0, "bytes have moved")

    connection.set("rq:suspended", 1)
    for name in names_of_workers(world):
        assert connection.publish(f"rq:pubsub:{name}", GARBAGE) == 0
        send_kill_horse_command(connection, name)
        send_shutdown_command(connection, name)

    ended = world.service.ended(job_id)
    assert (ended["status"], ended["attempt"]) == ("COMPLETED", 1)


def test_a_suspension_keeps_no_worker_from_starting(world, connection):
    end(world.worker)
    connection.set("rq:suspended", 1)

    world.worker = world.service.start_worker()

    assert moved(world)["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "command", [["info"], ["worker-pool"], ["requeue", "--queue", "moves", "--all"], ["empty", "moves"]]
)
def test_commands_of_rq_that_run_what_redis_holds_get_no_settings(world, connection, command):
    program = [str(Path(sys.executable).parent / "rq"), *command, "-c", "data_mover.rq_settings"]
    environment = {**os.environ, "DATA_MOVER_INI": str(world.service.ini)}

    ended = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "is for `rq worker` alone" in ended.stderr


@pytest.mark.parametrize("data", [b"", GARBAGE, zlib.compress(payload("os.system"))], ids=["none", "garbage", "a call"])
def test_a_work_horse_that_listens_believes_no_more_than_its_worker(tmp_path, data):
    with redis_server(tmp_path / "redis") as url, redis_connection(url, None) as connection:
        doorbell = Doorbell(connection)
        assert not doorbell.wait()
        for _ in range(3):
            push(connection, data=data)

        assert doorbell.wait()

        assert not connection.exists(QUEUE)
