"""README and documents work as printed: every snippet is tried, those of a page one after the other."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from configparser import RawConfigParser
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
import pytest
import tomlkit

from data_mover.config.callers import parse_callers
from data_mover.config.registry_file import parse_registry
from data_mover.config.settings import Settings, read_ini
from data_mover.domain.errors import ConfigProblem
from tests.functional.snippets import snippets
from tests.integration.test_operations import BLOCKS
from tests.project import PROJECT, script
from tests.servers.deployment import Deployment, host_table
from tests.servers.openssh import SshServer
from tests.servers.processes import absent, eventually, free_port, program, running, started

BIN = Path(sys.executable).parent
BOOTSTRAP = script("bootstrap.py")
EVERY = snippets()
PAGES = {page: list(found) for page, found in groupby(EVERY, lambda snippet: snippet.page)}
TOKEN = "dm_portal_…"
SECONDS = 120


@pytest.fixture(scope="module")
def registry(openssh, roots):
    """What the documents speak of, with files to move."""
    for directory, name in (
        (roots.disk, "DATA_TYPE/12.csv"),
        (roots.disk, "maps/12.bin"),
        (roots.hpc, "runs/7/out.tif"),
        (roots.archive, "species/1.csv"),
        (roots.archive, "species/12.csv"),
        (roots.archive, "layers/worldclim-2050/bio1.tif"),
    ):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    local = {"protocol": "local", "roles": ["source", "destination"]}
    return (
        host_table("disk", {**local, "root": roots.disk})
        + host_table("visualizer", openssh.options(roots.visualizer))
        + host_table("hpc", openssh.options(roots.hpc, protocol="scp"))
        + host_table("archive", {**local, "root": roots.archive})
        + '[datasets.DATA_TYPE]\nsource = { host = "disk", path = "/DATA_TYPE/{id}.csv" }\n'
        + '[datasets.species]\nsource = { host = "archive", path = "/species/{id}.csv" }\n'
        + '[datasets.layers]\nsource = { host = "archive", path = "/layers/{id}" }\n'
    )


@dataclass
class World:
    """The service of the documents, and its operators' directory: what the documents have in `/etc/data_mover` and in
    `/var/lib/data_mover`. Its `production.ini` is of the same service, with callers and a registry of its own."""

    service: Deployment
    openssh: SshServer
    root: Path
    #: of the web process that knows callers
    port: int
    token: str = TOKEN
    environment: dict[str, str] = field(default_factory=dict)
    hosts_and_types: dict[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return self.service.directory

    def here(self, text: str) -> str:
        """The text with the addresses and paths of this world."""
        own = f"http://127.0.0.1:{self.service.port}"
        for there, here in {
            "http://127.0.0.1:6543": own,
            "http://127.0.0.1:37863": own,
            "@mover.example.org": f"@127.0.0.1:{self.port}",
            "https://mover.example.org": f"http://127.0.0.1:{self.port}",
            "https://portal:": "http://portal:",
            TOKEN: self.token,
            "/etc/data_mover": str(self.directory),
            "/var/lib/data_mover": str(self.directory),
            "/var/backups": str(self.directory / "backups"),
            "/path/to/data_mover": str(PROJECT),
            "sudo -u data_mover ": "",
        }.items():
            text = text.replace(there, here)
        return text

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """What became of a script of bash that stops at the first command that fails."""
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **self.environment, **variables}
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", self.here(script)],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def register(self, found: dict[str, Any]) -> list[ConfigProblem]:
        """Add hosts and data types to the operators' registry, the SSH ones with the address and login of the server
        that there is; return the problems of the registry."""
        login = self.openssh.options(self.root)
        for name, host in found.get("hosts", {}).items():
            own = {key: login[key] for key in ("port", *(login.keys() & host.keys() - {"roles"}))}
            self.hosts_and_types["hosts"][name] = {**host, **own} if host["protocol"] == "sftp" else host
        self.hosts_and_types["datasets"].update(found.get("datasets", {}))
        path = self.directory / "production-registry.toml"
        path.write_text(tomlkit.dumps(self.hosts_and_types))
        return list(parse_registry(path.read_text(), path, open_web=False).problems)


@pytest.fixture(scope="module")
def service_of_documents(service, openssh, roots):
    """The service, with a second web process that knows callers."""
    directory, port = service.directory, free_port()
    ini = service.ini.read_text().replace("callers = none", f"callers = {directory}/callers.toml")
    ini = ini.replace("/registry.toml", "/production-registry.toml").replace(f":{service.port}\n", f":{port}\n")
    (directory / "production.ini").write_text(ini)
    for name in ("database-password", "redis-password"):
        (directory / name).touch(0o600)
    (directory / "data_mover.db").symlink_to(directory / "jobs.db")
    (directory / "delete-old-jobs.sql").write_text(BLOCKS[1])
    (directory / "backups").mkdir()
    (directory / ".venv").mkdir()
    (directory / ".venv" / "bin").symlink_to(BIN)
    (directory / "production-registry.toml").write_text((directory / "registry.toml").read_text())
    world = World(service, openssh, roots.visualizer, port)
    assert world.run("data_mover -c production.ini callers add frontend").returncode == 0
    started(service.start("front", "pserve", str(directory / "production.ini")), port, directory / "front.log")
    with service.proxy as proxy:
        assert service.ended(proxy.move("disk:/nowhere", "visualizer:/")["id"])["status"] == "FAILED"
    return world


@pytest.fixture
def world(service_of_documents):
    """The same for each page: with the registry of the service, and without what other pages have exported."""
    service_of_documents.environment.clear()
    registry = (service_of_documents.directory / "registry.toml").read_text()
    service_of_documents.hosts_and_types = tomllib.loads(registry)
    service_of_documents.register({})
    return service_of_documents


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(world, page):
    for snippet in PAGES[page]:
        if snippet.how in ("", "fails", "stays"):
            (try_server if snippet.how == "stays" else TRIED[snippet.language])(world, snippet)


def try_shell(world, snippet):
    commands = "".join(line for line in snippet.text.splitlines(keepends=True) if not is_of_bootstrap(line))
    world.environment.update(re.findall(r"^export (\w+)=(\S+)$", world.here(commands), re.MULTILINE))
    result = world.run(commands)
    assert (result.returncode != 0) == (snippet.how == "fails"), f"{snippet}: {result.stdout}{result.stderr}"


def is_of_bootstrap(line):
    """Whether the line is a command of `bootstrap.py`; fails if it has no such command, or no such tests."""
    words = shlex.split(line, comments=True)
    if words[:2] != ["python3", "bootstrap.py"]:
        return False
    assert " ".join(words[:3]) in BOOTSTRAP.__doc__, line
    if words[2:3] == ["test"] and words[3:4] not in ([], ["lint"], ["unit"]):
        assert (PROJECT / words[3]).exists(), line
    return True


def try_server(world, snippet):
    """A server that stays in the foreground, on a port of its own unless it says another."""
    log = world.directory / f"server-{snippet.line}.log"
    server, *arguments = shlex.split(world.here(snippet.text).replace("$PWD", str(world.directory)))
    ports = [] if "--port" in arguments else ["--port", str(free_port())]
    with running([server, *arguments, *ports], log, cwd=world.directory):
        eventually(lambda: "eady to accept connections" in log.read_text(), f"{snippet} is up")


def try_console(world, snippet):
    """Commands behind a `$`, each with what it prints; `…` stands for anything."""
    for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", snippet.text, re.MULTILINE):
        result = world.run(command)
        assert result.returncode == 0, f"{snippet}: {result.stderr}"
        assert re.fullmatch(re.escape(output).replace("…", ".*"), result.stdout), f"{snippet}: {result.stdout}"
        world.token = result.stdout.strip()


def try_python(world, snippet):
    words = WORDS.get(snippet.page, {})
    code = re.sub("|".join(words) or "$^", lambda word: words[word[0]], snippet.text)
    result = world.run(shlex.join([sys.executable, "-c", world.here(code)]))
    assert result.returncode == 0, f"{snippet}: {result.stderr}"


#: what a page says about a protocol that does not exist is tried with one that does
WORDS = {"docs/how-to/add-a-protocol.md": {"ftp": "webdav", "Ftp": "Webdav"}}


def try_toml(world, snippet):
    """Callers and issuers, or hosts and data types."""
    tables = tomllib.loads(snippet.text)
    if tables.keys() & {"callers", "issuers"}:
        text = re.sub(r'"[0-9a-f]+…"', f'"{"9f" * 32}"', snippet.text)
        assert parse_callers(text, Path(snippet.page))
    else:
        problems = world.register(tables)
        assert bool(problems) == (snippet.how == "fails"), f"{snippet}: {problems}"


def try_ini(world, snippet):
    """A unit of systemd, or lines for `[app:main]`."""
    if snippet.text.startswith("[Unit]"):
        unit = RawConfigParser(strict=False)
        unit.read_string(snippet.text)
        try_start(shlex.split(unit["Service"]["ExecStart"]))
    else:
        lines = RawConfigParser()
        lines.read_string("[app:main]\n" + world.here(snippet.text))
        assert Settings.from_mapping({**read_ini(str(world.service.ini)), **lines["app:main"]})


def try_start(command):
    """A command whose program is there and, if it is ours, takes these arguments."""
    name, arguments = Path(command[0]).name, command[1:]
    if name == "data_mover":
        subprocess.run([BIN / name, *arguments, "--help"], check=True, capture_output=True)
    else:
        assert program(name, str(BIN))


TRIED = {
    "sh": try_shell,
    "console": try_console,
    "python": try_python,
    "toml": try_toml,
    "ini": try_ini,
}


@pytest.mark.parametrize("snippet", [each for each in EVERY if "/" in each.how], ids=str)
def test_a_snippet_that_another_file_tries_is_there(snippet):
    """That file reads the page, or has each of its commands; with an ini of its own."""
    text = (PROJECT / snippet.how).read_text()
    if snippet.page.removeprefix("docs/").replace("/", '" / "') not in text:
        for line in snippet.text.splitlines():
            command = shlex.join(shlex.split(line, comments=True)).replace("development.ini", "ci.ini")
            assert command in text, snippet


def test_no_snippet_is_left_out():
    ways = {"", "fails", "stays", "root", "postgresql"}

    assert [each for each in EVERY if each.how not in ways and "/" not in each.how] == []
    assert [each for each in EVERY if "/" not in each.how and each.language not in {*TRIED, "sql"}] == []


def test_the_pictures_are_taken_of_a_service_that_runs(world, tmp_path):
    program("chromium")
    url = f"http://127.0.0.1:{world.service.port}"
    command = [sys.executable, PROJECT / "docs" / "take_pictures.py", url, tmp_path]
    taken = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    assert taken.returncode == 0, taken.stderr
    assert {path.name for path in (PROJECT / "docs" / "pictures").iterdir()} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert "There&#160;is&#160;no&#160;such&#160;file" in (tmp_path / "command.svg").read_text()


def test_what_needs_root_works_as_printed(tmp_path):
    """In a view of the file system of its own, where `/etc` is a copy and `/var/lib` is empty."""
    if os.geteuid() != 0:
        pytest.skip("this takes root; .ci/run runs it")
    scripts = [each.text for each in EVERY if each.how == "root"]
    (tmp_path / "script").write_text("".join(scripts).replace("/path/to/the/project", str(PROJECT)))
    view = f"""
        cp -a /etc {tmp_path}/etc
        mount --bind {tmp_path}/etc /etc
        mount -t tmpfs none /var/lib
        bash -euxo pipefail {tmp_path}/script
        stat -c '%U %a %n' /etc/data_mover/keys /etc/data_mover/database-password /var/lib/data_mover/redis
    """
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0:
        absent("this container lets nobody have a view of the file system of its own")
    result = subprocess.run(["unshare", "--mount", "bash", "-ec", view], check=False, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "data_mover 700 /etc/data_mover/keys",
        "data_mover 600 /etc/data_mover/database-password",
        "data_mover 700 /var/lib/data_mover/redis",
    ]


def test_what_is_of_postgresql_works_as_printed(world, postgresql_url, tmp_path):
    """In a directory that is `/etc/data_mover`, as a new deployment finds it, with the Redis of the tests."""
    of_postgresql = [each for each in EVERY if each.how == "postgresql"]
    (tmp_path / "database-password").touch(0o600)
    (tmp_path / "database-password").write_text("choose-one")
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        for statement in "".join(each.text for each in of_postgresql if each.language == "sql").split(";"):
            connection.execute(statement)
        port = str(connection.info.port)
    commands = "".join(each.text for each in reversed(of_postgresql) if each.language == "sh")
    redis = f"--redis {read_ini(str(world.service.ini))['redis.url']} --caller"
    here = {"/etc/data_mover": str(tmp_path), "127.0.0.1:5432": f"127.0.0.1:{port}", "--caller": redis}
    for there, own in here.items():
        commands = commands.replace(there, own)
    result = world.run(commands, PGHOST="127.0.0.1", PGPORT=port, PGUSER="data_mover")

    assert result.returncode == 0, result.stdout + result.stderr
    assert (world.directory / "backups" / "data_mover.dump").exists()
