"""What an operator wrote wrong ends each process with all of it, and without a traceback."""

import pytest

from tests.servers.deployment import deployment, host_table

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
def test_a_registry_with_mistakes(tmp_path, redis_url, name):
    registry = host_table("disk", {**DISK, "colour": "red", "verify": "hope"})
    with deployment(tmp_path, redis_url, registry) as service:
        said = said_at_its_end(service, name)

    assert "registry.toml cannot be used:" in said
    assert "  hosts.disk.colour: unknown key" in said
    assert "  hosts.disk.verify: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", PROCESSES)
def test_an_ini_with_mistakes(tmp_path, redis_url, name):
    with deployment(tmp_path, redis_url, host_table("disk", DISK)) as service:
        service.ini.write_text(service.ini.read_text().replace("data_mover.callers = none", "data_mover.sweeps = 1"))
        said = said_at_its_end(service, name)

    assert f"{service.ini} cannot be used:" in said
    assert "  data_mover.callers: is missing" in said
    assert "  data_mover.sweeps: unknown key" in said
    assert "Traceback" not in said
