"""Files of a move that the host may take for one: each arrives, or one of them fails by name."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.asyncssh_server import asyncssh_server
from tests.servers.deployment import deployment, host_table


@pytest.fixture(scope="module")
def stage(tmp_path_factory, openssh, redis_url):
    directory = tmp_path_factory.mktemp("twins")
    for name in ("disk", "folds", "keeps"):
        (directory / name).mkdir()
    with ExitStack() as stack:
        folding = stack.enter_context(asyncssh_server(directory / "ssh", "folds"))
        registry = (
            host_table("disk", {"protocol": "local", "root": directory / "disk", "roles": ["source"]})
            + host_table("folds", folding.options(directory / "folds"))
            + host_table("keeps", openssh.options(directory / "keeps"))
        )
        service = stack.enter_context(deployment(directory / "service", redis_url, registry))
        service.start_web()
        service.start_worker()
        yield service, directory


def make_twins(directory, name):
    """Two pairs of twins in a new folder: files, and a file in each of two directories."""
    for path, content in {"Data.csv": "1", "data.csv": "22", "Maps/a": "3", "maps/a": "44", "other": "5"}.items():
        file = directory / "disk" / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return {path.relative_to(directory / "disk" / name): path.read_text() for path in files(directory / "disk" / name)}


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def moved(service, name, host, **options):
    with service.proxy as proxy:
        job_id = proxy.move(f"local://disk/{name}", f"sftp://{host}/", options)["id"]
        job = service.ended(job_id)
        return job, {file["name"]: file for file in proxy.files(job_id)}


def test_where_case_counts_all_arrive_also_a_second_time(stage):
    service, directory = stage
    contents = make_twins(directory, "all")

    jobs = [moved(service, "all", "keeps")[0] for _ in range(2)]

    assert [job["status"] for job in jobs] == ["COMPLETED"] * 2, jobs
    arrived = directory / "keeps" / "all"
    assert {path.relative_to(arrived): path.read_text() for path in files(arrived)} == contents


def test_where_it_does_not_one_of_each_pair_fails_by_name(stage):
    service, directory = stage
    contents = make_twins(directory, "each")

    job, reported = moved(service, "each", "folds")

    assert (job["status"], job["code"]) == ("FAILED", "name-conflict"), job
    codes = {name: file.get("code") for name, file in reported.items() if str(name) in map(str, contents)}
    assert codes["other"] is None
    for pair in [("Data.csv", "data.csv"), ("Maps/a", "maps/a")]:
        assert sorted(codes[name] or "" for name in pair) == ["", "name-conflict"]
        [arrived] = [name for name in pair if codes[name] is None]
        assert (directory / "folds" / "each" / arrived.lower()).read_text() == contents[Path(arrived)]


def test_where_a_link_at_the_destination_makes_one_directory_of_two_one_of_each_pair_fails_by_name(stage):
    service, directory = stage
    for folder, name, content in [("a", "same", "1"), ("b", "same", "22"), ("b", "other", "3")]:
        file = directory / "disk" / "linked" / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    there = directory / "keeps" / "linked"
    (there / "a").mkdir(parents=True)
    (there / "b").symlink_to("a")

    job, reported = moved(service, "linked", "keeps")

    assert (job["status"], job["code"]) == ("FAILED", "name-conflict"), job
    states = {name: (file["state"], file.get("code")) for name, file in reported.items() if file["kind"] == "file"}
    assert states.pop("b/other") == ("published", None)
    assert sorted(states.values(), key=str) == [("failed", "name-conflict"), ("published", None)]
    [arrived] = [name for name, (state, _) in states.items() if state == "published"]
    assert (there / "a" / "same").read_text() == (directory / "disk" / "linked" / arrived).read_text()
    assert sorted(path.name for path in (there / "a").iterdir()) == ["other", "same"]
    assert (there / "b").is_symlink()


def test_a_folder_of_twins_does_not_appear_at_once(stage):
    service, directory = stage
    make_twins(directory, "atomic")

    job, _ = moved(service, "atomic", "folds", atomic=True)

    assert (job["status"], job["code"]) == ("FAILED", "name-conflict"), job
    assert not (directory / "folds" / "atomic").exists()
