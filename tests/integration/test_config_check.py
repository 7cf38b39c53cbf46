"""`check-config`: every problem at once, and what is out of reach."""

import pytest

from data_mover.checks.config import check_configuration
from data_mover.config.settings import Settings
from data_mover.store import migrations
from data_mover.store.database import Database
from tests.servers.deployment import INI, host_table
from tests.servers.processes import free_port

REGISTRY = host_table("visualizer", {"protocol": "local", "root": "/srv", "roles": ["destination"]})


@pytest.fixture
def ini(tmp_path, redis_url):
    """An ini without problems, of which nothing has been set up yet."""
    path = tmp_path / "service.ini"
    path.write_text(
        INI.format(database_url="sqlite:///%(here)s/jobs.db", redis_url=redis_url, port=1, extra="", pace="")
    )
    (tmp_path / "registry.toml").write_text(REGISTRY)
    return path


def found(ini):
    return {finding.step: finding for finding in check_configuration(str(ini))}


def problems(ini):
    return [finding.sentence for finding in check_configuration(str(ini)) if not finding.passed]


def test_all_is_well(ini):
    database = Database(Settings.from_ini(str(ini)).database_url())
    migrations.upgrade(database.engine)
    database.close()

    findings = found(ini)

    assert problems(ini) == []
    assert list(findings) == ["ini", "registry", "destination", "listen", "state_dir", "database", "redis"]
    assert "1 hosts (0 to move from, 1 to move to), 0 data types" in findings["registry"].sentence


def test_every_problem_of_ini_and_registry_is_reported_at_once(ini, tmp_path):
    ini.write_text(ini.read_text().replace("[server:main]", "data_mover.sweeps = 1\n[server:main]"))
    (tmp_path / "registry.toml").write_text(REGISTRY + "colour = 'red'\nverify = 'hope'\n")

    reported = "\n".join(problems(ini))

    assert "data_mover.sweeps: unknown key" in reported
    assert "hosts.visualizer.colour: unknown key" in reported
    assert "hosts.visualizer.verify: " in reported


def test_a_database_that_is_missing_is_not_made_by_looking(ini, tmp_path):
    (reported,) = problems(ini)

    assert f"initialize_data_mover_db {ini}" in reported
    assert not (tmp_path / "jobs.db").exists()
    assert not (tmp_path / "state").exists()


def test_a_database_without_the_schema(ini, tmp_path):
    (tmp_path / "jobs.db").touch()

    (reported,) = problems(ini)

    assert "the schema is missing or old" in reported


def test_a_database_or_redis_that_does_not_answer(ini, redis_url):
    port = free_port()
    ini.write_text(
        ini.read_text()
        .replace("sqlite:///%(here)s/jobs.db", f"postgresql+psycopg://nobody@127.0.0.1:{port}/none")
        .replace(redis_url, f"redis://127.0.0.1:{port}/0")
    )

    database, redis = problems(ini)

    assert "does not answer" in database
    assert "does not answer" in redis


def test_a_default_destination_that_the_registry_does_not_have(ini, tmp_path):
    (tmp_path / "registry.toml").write_text(REGISTRY.replace("visualizer", "archive"))

    [reported] = [sentence for sentence in problems(ini) if sentence.startswith("data_mover.default_destination: ")]
    assert "Unknown destination 'visualizer'; known: archive" in reported


def test_secrets_that_cannot_be_read_are_reported_with_their_host(ini, tmp_path, openssh, monkeypatch):
    monkeypatch.delenv("VIS_PASSWORD", raising=False)
    table = openssh.options(tmp_path)
    (tmp_path / "registry.toml").write_text(
        REGISTRY
        + host_table("hpc", {**table, "key_file": "keys/lost"})
        + host_table("vis", {**table, "password": "env:VIS_PASSWORD"})
    )

    reported = "\n".join(problems(ini))

    assert "hosts.hpc.key_file: " in reported
    assert "hosts.vis.password: the environment variable VIS_PASSWORD is not set" in reported


def test_the_secrets_of_every_protocol_are_read(ini, tmp_path, monkeypatch):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    monkeypatch.setenv("HERE", "hunter2")
    for name in ("A", "B", "C", "D", "E"):
        monkeypatch.delenv(f"SECRET_{name}", raising=False)
    store = {"protocol": "s3", "endpoint": "https://store.example.org", "bucket": "climate", "root": "/"}
    cloud = {"protocol": "webdav", "endpoint": "https://cloud.example.org", "root": "/", "roles": ["source"]}
    web = host_table("web", {"protocol": "https", "address": "web.example.org", "cookie": "env:SECRET_E"})
    (tmp_path / "registry.toml").write_text(
        REGISTRY
        + host_table(
            "store", {**store, "access_key": "env:SECRET_A", "secret_key": "env:SECRET_B", "roles": ["source"]}
        )
        + host_table("cloud", {**cloud, "username": "mover", "password": f"file:{tmp_path}/lost"})
        + host_table("share", {**cloud, "bearer": f"file:{tmp_path}/binary"})
        + host_table("open", {**cloud, "bearer": "env:HERE"})
        + web.rstrip()
        + '\nheaders = { X-Api-Key = "env:SECRET_C", X-Other = "env:HERE", X-Token = "env:SECRET_D" }\n'
    )

    reported = "\n".join(problems(ini)).splitlines()

    absent = "the environment variable SECRET_{} is not set".format
    assert [line for line in reported if line.startswith("hosts.")] == [
        f"hosts.store.access_key: {absent('A')}",
        f"hosts.store.secret_key: {absent('B')}",
        f"hosts.cloud.password: file:{tmp_path}/lost: No such file or directory",
        f"hosts.share.bearer: file:{tmp_path}/binary: is no text in UTF-8",
        f"hosts.web.cookie: {absent('E')}",
        f"hosts.web.headers.X-Api-Key: {absent('C')}",
        f"hosts.web.headers.X-Token: {absent('D')}",
    ]
    assert "hunter2" not in "\n".join(reported)


@pytest.mark.ordinary_user
def test_a_state_directory_that_cannot_be_made(ini, tmp_path):
    (tmp_path / "jobs.db").touch()
    tmp_path.chmod(0o555)

    reported = "\n".join(problems(ini))

    tmp_path.chmod(0o755)
    assert "data_mover.state_dir: " in reported


def test_a_secret_of_an_issuer_that_cannot_be_read_is_reported(ini, tmp_path):
    callers = tmp_path / "callers.toml"
    callers.touch(0o600)
    issuer = 'issuer = "https://login.example.org"\naudience = "x"\nclient_id = "page"\nscopes = { x = {} }\n'
    callers.write_text(f'[issuers.campus]\n{issuer}client_secret = "env:NOT_SET"\n')
    ini.write_text(ini.read_text().replace("data_mover.callers = none", f"data_mover.callers = {callers}"))

    assert f"{callers}: issuers.campus.client_secret: the environment variable NOT_SET is not set" in problems(ini)
