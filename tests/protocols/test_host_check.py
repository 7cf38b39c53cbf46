"""`hosts check`: what it finds on real hosts, what it leaves there, and what it says to do."""

import os
import socket
import subprocess
import sys

import pytest

from data_mover.checks.host import check_host
from data_mover.config.registry_file import HostEntry, host_entries
from tests.servers.asyncssh_server import PASSWORD, asyncssh_server
from tests.servers.deployment import INI, host_table
from tests.servers.faulty_shell import faulty_shell
from tests.servers.openssh import openssh_server
from tests.servers.processes import free_port
from tests.servers.web import web_server

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65tjkxFNOtwGcWB2gCgPhk"
TO_THE_DOOR = ["address", "host key", "login"]
BELOW_THE_ROOT = ["root", "source", "space", "write", "verify", "rename", "replace", "delete"]


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def check(tmp_path):
    """The findings about a host of which the registry says this, by step."""

    def find(table):
        (tmp_path / "registry.toml").write_text(host_table("vis", table))
        (entry,) = host_entries(tmp_path / "registry.toml")
        return {finding.step: finding for finding in check_host(entry)}

    return find


def holding(findings):
    assert [finding.sentence for finding in findings.values() if not finding.passed] == []
    return list(findings)


def lacking(findings):
    """Return the sentence of the last finding, which is the only failed one."""
    *before, last = findings.values()
    assert [finding.sentence for finding in before if not finding.passed] == []
    assert not last.passed
    return last.step, last.sentence


def left_in(root):
    return [path.name for path in root.rglob("*")]


@pytest.mark.parametrize("protocol", ["sftp", "scp"])
def test_all_is_well(check, openssh, root, protocol):
    findings = check(openssh.options(root, protocol=protocol))

    assert holding(findings) == TO_THE_DOOR + BELOW_THE_ROOT
    assert "SHA256:" in findings["host key"].sentence
    assert "with key_file" in findings["login"].sentence
    assert "sha256-remote" in findings["verify"].sentence
    assert left_in(root) == []


def test_all_is_well_in_a_bucket(check, ceph):
    bucket = ceph.make_bucket("host-check")

    findings = check(ceph.options(bucket, root="/below"))

    assert holding(findings) == ["login", *BELOW_THE_ROOT]
    assert "sha256-readback" in findings["verify"].sentence
    assert bucket.names() == bucket.uploads() == []


@pytest.mark.parametrize(
    ("wrong", "step", "advice"),
    [
        ({"access_key": "env:SOMETHING_ELSE"}, "login", "`access_key`"),
        ({"endpoint": "http://127.0.0.1:1"}, "login", "http://127.0.0.1:1"),
        ({"bucket": "not-there"}, "root", "bucket not-there"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_reported_with_what_to_fix(check, ceph, monkeypatch, wrong, step, advice):
    monkeypatch.setenv("SOMETHING_ELSE", "anotherkey")
    bucket = ceph.make_bucket("host-check")

    found, sentence = lacking(check(ceph.options(bucket, **wrong)))

    assert found == step
    assert advice in sentence


def test_all_is_well_on_a_server_that_speaks_webdav(check, apache, root):
    findings = check(apache.options(root, replace="swap"))

    assert holding(findings) == ["login", *BELOW_THE_ROOT]
    assert "as mover, with the password from file:" in findings["login"].sentence
    assert "sha256-readback" in findings["verify"].sentence
    assert left_in(root) == []


@pytest.mark.parametrize(
    ("wrong", "step", "advice"),
    [
        ({"username": "somebody"}, "login", "`username` and `password`"),
        ({"endpoint": "https://127.0.0.1:1"}, "login", "https://127.0.0.1:1"),
        ({"root": "/not/there"}, "root", "/not/there is a directory"),
    ],
)
def test_a_webdav_server_that_cannot_be_used_is_reported_with_what_to_fix(check, apache, root, wrong, step, advice):
    found, sentence = lacking(check(apache.options(root, replace="swap") | wrong))

    assert found == step
    assert advice in sentence


def test_all_is_well_in_a_directory_of_this_machine(check, root):
    findings = check({"protocol": "local", "root": root, "roles": ["source", "destination"]})

    assert holding(findings) == BELOW_THE_ROOT
    assert left_in(root) == []


def test_every_server_of_the_conformance_suite_is_found_well(host):
    findings = {
        finding.step: finding
        for finding in check_host(HostEntry(host.name, {}, host.changed(replace="swap").options, ()))
    }

    assert holding(findings)[-len(BELOW_THE_ROOT) :] == BELOW_THE_ROOT
    assert host.names() == []


def test_nothing_is_written_to_a_host_that_is_only_a_source(check, openssh, root):
    findings = check(openssh.options(root, roles=["source"]))

    assert holding(findings) == [*TO_THE_DOOR, "root", "source"]


def test_the_way_of_proof_is_that_of_the_registry(check, openssh, root):
    assert "(size)" in check(openssh.options(root, verify="size"))["verify"].sentence
    assert "(sha256-readback), as" in check(openssh.options(root, verify="sha256-readback"))["verify"].sentence


@pytest.mark.parametrize("changes", [{"host_key": OTHER_KEY}, {"host_key": "ssh-rsa AAAA"}, {"known_hosts": "nothing"}])
def test_where_the_key_is_not_the_pinned_one_the_line_to_pin_is_shown(check, openssh, root, changes):
    table = openssh.options(root)
    right_key = table.pop("host_key")

    step, sentence = lacking(check(table | changes))

    assert step == "host key"
    assert sentence.splitlines()[-1] == f'host_key = "{right_key}"'
    assert "owner confirm the fingerprint" in sentence


def test_where_no_key_is_pinned_the_host_is_asked_for_it_all_the_same(check, openssh, root):
    table = openssh.options(root)
    right_key = table.pop("host_key")

    findings = check(table)

    assert list(findings) == ["registry", "address", "host key"]
    assert not findings["registry"].passed
    assert findings["host key"].sentence.splitlines()[-1] == f'host_key = "{right_key}"'


def test_a_login_that_the_host_refuses(check, openssh, root):
    step, sentence = lacking(check(openssh.options(root, username="nobody-at-all")))

    assert step == "login"
    assert "authorized_keys" in sentence


def test_a_key_file_that_is_not_there(check, openssh, root):
    findings = check(openssh.options(root, key_file="keys/lost"))

    assert "keys/lost is not there" in findings["registry"].sentence
    assert "login" not in findings


@pytest.mark.parametrize("protocol", ["sftp", "scp", "local"])
@pytest.mark.parametrize("below", ["lost", "lost/too"])
def test_a_root_that_is_not_there(check, openssh, root, protocol, below):
    table = openssh.options(root / below, protocol=protocol)
    if protocol == "local":
        table = {key: table[key] for key in ("protocol", "root", "roles")}

    step, sentence = lacking(check(table))

    assert step == "root"
    assert "correct `root`" in sentence


def test_a_root_that_is_a_file(check, openssh, root):
    (root / "file").touch()

    step, _ = lacking(check(openssh.options(root / "file")))

    assert step == "root"


def test_a_host_that_lets_nobody_write(check, root, tmp_path):
    with openssh_server(tmp_path / "ssh", extra="ForceCommand internal-sftp -R") as server:
        findings = check(server.options(root))

    assert not findings["write"].passed
    assert "Let Data Mover write" in findings["write"].sentence
    assert "verify" not in findings


@pytest.mark.ordinary_user
@pytest.mark.parametrize("protocol", ["sftp", "scp"])
def test_a_root_that_may_not_be_written(check, openssh, root, protocol):
    root.chmod(0o555)

    findings = check(openssh.options(root, protocol=protocol))

    assert not findings["write"].passed
    assert "Let Data Mover write" in findings["write"].sentence


def test_a_host_that_cannot_replace_atomically(check, root, tmp_path):
    with openssh_server(tmp_path / "ssh", extra="ForceCommand internal-sftp -P posix-rename") as server:
        atomic, swap = check(server.options(root)), check(server.options(root, replace="swap"))

    assert not atomic["replace"].passed
    assert 'replace = "swap"' in atomic["replace"].sentence
    assert "sha256-readback" in atomic["verify"].sentence
    assert swap["replace"].passed
    assert left_in(root) == []


def test_a_shell_whose_profile_prints_something(check, root, tmp_path):
    with faulty_shell(tmp_path / "shell") as shell:
        shell.order("is greeted")
        step, sentence = lacking(check(shell.server.options(root, protocol="scp")))

    assert step == "root"
    assert "a profile that prints something" in sentence


def test_what_cannot_be_removed_is_named(check, root, tmp_path):
    with asyncssh_server(tmp_path / "ssh", "remove", 1) as server:
        step, sentence = lacking(check(server.options(root)))

    assert step == "delete"
    (left,) = left_in(root)
    assert left in sentence


def test_a_host_that_is_down(check, openssh, root):
    step, sentence = lacking(check(openssh.options(root, port=free_port())))

    assert step == "address"
    assert "Connection refused" in sentence


def test_a_host_that_is_silent(check, openssh, root):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        step, sentence = lacking(check(openssh.options(root, port=port, connect_timeout_seconds=0.5)))

    assert step == "host key"
    assert "does not speak SSH" in sentence


@pytest.mark.parametrize("address", ["host.invalid", "a" * 70])
def test_a_name_that_leads_nowhere(check, openssh, root, address):
    step, sentence = lacking(check(openssh.options(root, address=address)))

    assert step == "address"
    assert "has no IP address" in sentence


class TestTheCommand:
    @pytest.fixture
    def hosts_check(self, tmp_path):
        """Runs `data_mover hosts check` on a registry with this text."""

        def run(registry, *arguments, **environment):
            (tmp_path / "registry.toml").write_text(registry)
            (tmp_path / "service.ini").write_text(
                INI.format(
                    database_url="sqlite:////nowhere.db", redis_url="redis://127.0.0.1:1/0", port=1, extra="", pace=""
                )
            )
            command = [sys.executable, "-m", "data_mover.cli.main", "-c", str(tmp_path / "service.ini")]
            return subprocess.run(
                [*command, "hosts", "check", *arguments],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=False,
            )

        return run

    def test_its_status_says_whether_all_hosts_are_well(self, hosts_check, openssh, root):
        good, bad = host_table("good", openssh.options(root)), host_table("bad", openssh.options(root / "lost"))

        assert hosts_check(good).returncode == 0
        assert hosts_check(good + bad).returncode == 1
        assert hosts_check(good + bad, "good").returncode == 0

    def test_an_unknown_host_is_answered_with_the_known_ones(self, hosts_check, openssh, root):
        result = hosts_check(host_table("good", openssh.options(root)), "god")

        assert result.returncode == 1
        assert "there is no host 'god'; known: good" in result.stderr

    def test_the_lines_are_plain_and_without_secrets(self, hosts_check, root, tmp_path):
        with asyncssh_server(tmp_path / "ssh") as server:
            table = server.options(root, password="env:VIS_PASSWORD")
            del table["key_file"]
            right = hosts_check(host_table("vis", table), VIS_PASSWORD=PASSWORD)
            wrong = hosts_check(host_table("vis", table), VIS_PASSWORD="hunter2")

        assert (right.returncode, wrong.returncode) == (0, 1)
        assert "with the password from env:VIS_PASSWORD" in right.stdout
        output = right.stdout + right.stderr + wrong.stdout + wrong.stderr
        assert "\x1b" not in output
        assert PASSWORD not in output
        assert "hunter2" not in output


def test_a_web_server_is_asked_for_a_file_that_nobody_has(check, tmp_path):
    with web_server(tmp_path / "web", tls=True) as server:
        findings = check(server.options())
        assert holding(findings) == ["connection", "source"]
        assert f"{server.url} answers, with a certificate that" in findings["connection"].sentence

        step, sentence = lacking(check({**server.options(), "port": free_port()}))
        assert step == "connection"
        assert "The host cannot be reached" in sentence

        table = server.options()
        del table["ca_file"]
        assert "`ca_file`" in lacking(check(table))[1]


@pytest.mark.parametrize(
    ("status", "holds"), [(200, True), (404, True), (204, True), (403, True), (401, False), (503, False)]
)
def test_what_a_web_server_says_to_the_login_at_its_root_is_reported(check, tmp_path, monkeypatch, status, holds):
    monkeypatch.setenv("TOKEN", "hunter2")
    with web_server(tmp_path / "web", tls=True) as server:
        server.faults[f"{tmp_path}/"] = lambda answer: answer.answer(status)
        findings = check(server.options(tmp_path, bearer="env:TOKEN"))
        [(_, fields), *_] = server.requests

    assert fields["Authorization"] == "Bearer hunter2"
    assert list(findings) == ["connection", "login", *(["source"] if holds else [])]
    assert findings["login"].passed == holds
    assert ("403" in findings["login"].sentence) == (status == 403)
    assert ("`bearer`" in findings["login"].sentence) == (status in (200, 204, 401, 404))


def test_a_login_of_a_web_server_that_cannot_be_read_is_reported(check, tmp_path, monkeypatch):
    monkeypatch.delenv("TOKEN", raising=False)
    with web_server(tmp_path / "web", tls=True) as server:
        step, sentence = lacking(check(server.options(bearer="env:TOKEN")))

    assert step == "connection"
    assert "TOKEN is not set" in sentence
    assert "can read what the registry names" in sentence
