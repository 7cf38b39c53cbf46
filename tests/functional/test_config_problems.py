"""Problems in ini and registry end each process with a list of all of them, and without a traceback."""

import pytest

from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually

DISK = {"protocol": "local", "root": "/srv", "roles": ["source"]}
PROCESSES = {
    "web": ["pserve", "{ini}"],
    "worker": ["rq", "worker", "-c", "data_mover.rq_settings"],
    "worker command": ["data_mover", "-c", "{ini}", "worker"],
}


def said_at_its_end(service, name):
    command = [part.format(ini=service.ini) for part in PROCESSES[name]]

    assert service.start(name, *command).wait(timeout=60) == 1

    return service.log(name)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_registry_that_cannot_be_read(tmp_path, redis_url, name):
    with deployment(tmp_path, redis_url, "[hosts.disk\n") as service:
        said = said_at_its_end(service, name)

    assert "registry.toml cannot be used:" in said
    assert "  file: is not TOML: " in said
    assert "Traceback" not in said


def test_a_host_with_problems_is_refused_and_every_other_is_served(tmp_path, redis_url):
    for name in ("disk", "archive"):
        (tmp_path / name).mkdir()
    (tmp_path / "disk" / "a").write_text("a")
    disk = host_table("disk", {**DISK, "root": tmp_path / "disk"})
    archive = host_table("archive", {**DISK, "root": tmp_path / "archive", "roles": ["destination"]})
    broken = host_table("broken", {**DISK, "roles": ["destination"], "colour": "red"})
    with deployment(tmp_path / "service", redis_url, disk + archive + broken) as service:
        service.start_web()
        with service.proxy as proxy:
            answer = proxy.move("local://disk/a", "local://broken/a")
            assert answer["status"] == "REJECTED"
            assert "The host 'broken' cannot be used: what the registry says of it has a problem" in answer["reason"]
            reported = {host["name"]: (host["health"], host.get("code")) for host in proxy.hosts()}
            assert reported["broken"] == ("failing", "host-unreachable")
            waiting = proxy.move("local://disk/a", "local://archive/a")["id"]

            registry = service.directory / "registry.toml"
            registry.write_text(disk + archive.replace("protocol", "colour = 1\nprotocol") + broken)
            service.start_worker()
            service.start_sweeper()
            eventually(lambda: proxy.check(waiting).get("code") == "host-unreachable", "the move waits for its host")
            assert "what the registry says of it has a problem" in proxy.check(waiting)["reason"]
            assert proxy.check(waiting)["status"] == "PENDING"

            registry.write_text(disk + archive + broken)
            assert service.ended(waiting)["status"] == "COMPLETED"
        assert "registry-entry-refused" in service.log("web")
        assert "hosts.broken.colour: unknown key" in service.log("web")


@pytest.mark.parametrize("name", PROCESSES)
def test_an_ini_with_problems(tmp_path, redis_url, name):
    with deployment(tmp_path, redis_url, host_table("disk", DISK)) as service:
        service.ini.write_text(service.ini.read_text().replace("data_mover.callers = none", "data_mover.sweeps = 1"))
        said = said_at_its_end(service, name)

    assert f"{service.ini} cannot be used:" in said
    assert "  data_mover.callers: is missing" in said
    assert "  data_mover.sweeps: unknown key" in said
    assert "Traceback" not in said
