"""What can go wrong between us and an SSH host, and what is reported of it."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import paramiko
import pytest

from data_mover.backends.api import NewFile
from data_mover.backends.ssh.connection import WINDOW_BYTES, SshConnection
from data_mover.backends.ssh.options import SshOptions
from data_mover.backends.ssh.packets import BurstPacketizer
from data_mover.domain.errors import (
    ConnectionLost,
    HostKeyMismatch,
    HostUnreachable,
    LoginRefused,
    MoveFailure,
    Stalled,
)
from tests.protocols.conftest import Host
from tests.servers.asyncssh_server import PASSWORD, asyncssh_server
from tests.servers.flooding_ssh import FLOOD_BYTES, flooding_server
from tests.servers.openssh import openssh_server
from tests.servers.processes import descendants, eventually, free_port, program

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65tjkxFNOtwGcWB2gCgPhk"


@contextmanager
def silent_server():
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def full_server():
    """The address and port of one that accepts no connection any more."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        for _ in range(2):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()


def write_for_ever(writer):
    while True:
        writer.write(bytes(2**18))


def test_a_host_that_does_not_listen_is_unreachable(ssh_host):
    with pytest.raises(HostUnreachable, match=ssh_host.name):
        ssh_host.changed(port=free_port()).connect()


def test_a_silent_host_is_unreachable_within_the_time_out(ssh_host):
    with silent_server() as port:
        began = time.monotonic()
        with pytest.raises(HostUnreachable):
            ssh_host.changed(port=port, connect_timeout_seconds=1).connect()

    assert time.monotonic() - began < 5


@contextmanager
def endless_server(greeting):
    """Send the greeting, and then zeros for as long as the client reads; yield the port and the number of zeros."""
    taken = [0]

    def serve():
        with suppress(OSError), listener.accept()[0] as client:
            client.sendall(greeting)
            while taken[0] < 2**27:
                taken[0] += client.send(bytes(2**16))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], taken
        thread.join()


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-endless\r\n", b"SSH-2.0-endless\r\n" + b"\xff" * 4], ids=repr)
def test_a_host_that_greets_without_an_end_is_not_heard_out(ssh_host, greeting):
    with endless_server(greeting) as (port, taken), pytest.raises(HostUnreachable):
        ssh_host.changed(address="127.0.0.1", port=port, connect_timeout_seconds=5).connect()

    assert 0 < taken[0] < 2**25


def test_a_name_that_does_not_resolve_is_unreachable(ssh_host):
    with pytest.raises(HostUnreachable):
        ssh_host.changed(address="host.invalid").connect()


def test_an_address_that_does_not_answer_leaves_time_for_the_next(openssh, host_table, monkeypatch):
    host = host_table(openssh).changed(address="vis.example.org", connect_timeout_seconds=4)
    with full_server() as (address, port):
        found = [(socket.AF_INET, 0, 0, "", each) for each in ((address, port), ("127.0.0.1", openssh.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

        host.connect().close()


def test_another_host_key_is_refused_before_any_login(ssh_host, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    asked = []

    def read(secret):
        asked.append(secret)
        return "hunter2"

    monkeypatch.setattr("data_mover.domain.secrets.SecretReference.read", read)
    with pytest.raises(HostKeyMismatch):
        ssh_host.changed(host_key=OTHER_KEY, key_file=None, password="env:SECRET").connect()

    assert asked == []


def test_a_host_key_of_another_type_is_refused(ssh_host):
    with pytest.raises(HostKeyMismatch):
        ssh_host.changed(
            host_key="ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA=="
        ).connect()


def test_a_key_from_known_hosts_is_as_good(ssh_host, tmp_path):
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[{ssh_host.options.address}]:{ssh_host.options.port} {ssh_host.options.host_key[0]}\n")

    ssh_host.changed(host_key=(), known_hosts=str(known_hosts)).connect().close()

    known_hosts.write_text("")
    with pytest.raises(HostKeyMismatch, match="known_hosts"):
        ssh_host.changed(host_key=(), known_hosts=str(known_hosts)).connect()


@pytest.fixture
def known(ssh_host, tmp_path):
    """Whether a host is connected to whose known_hosts file has these lines; `{name}` and `{key}` are the host's."""

    def connects(*lines):
        options = ssh_host.changed().options
        key = options.host_key[0]
        name = f"[{options.address}]:{options.port}"
        words = {"name": name, "address": options.address, "half": options.address[:-1], "key": key, "other": OTHER_KEY}
        text = "\n".join(line.format(hashed=paramiko.HostKeys.hash_host(name), **words) for line in lines)
        (tmp_path / "known_hosts").write_text(text + "\n")
        try:
            ssh_host.changed(host_key=(), known_hosts=str(tmp_path / "known_hosts")).connect().close()
        except HostKeyMismatch:
            return False
        return True

    return connects


def test_each_line_of_known_hosts_concerns_its_own_host(known):
    assert known("{name} {key}")
    assert known("@cert-authority *.example.org {other}", "@revoked elsewhere {key}", "nonsense", "{name} {key}")
    assert known("{name} {other}", "{name} {key}")
    assert not known("{name} {key}", "@revoked {name} {key}")
    assert not known("@cert-authority {name} {key}")
    assert known("{name}  \t{key}")


@pytest.mark.parametrize(
    ("line", "is_revoked"),
    [
        ("@revoked * {key}", True),
        ("@revoked *.example.org,* {key}", True),
        ("@revoked\t{name} {key}", True),
        ("@revoked  {name}  {key}", True),
        ("  @revoked {address} {key}", True),
        ("@revoked {half}* {key}", True),
        ("@revoked {half}? {key}", True),
        ("@revoked {half}?? {key}", False),
        ("@revoked *.example.org {key}", False),
        ("@revoked *,!{name} {other}", False),
        ("@revoked !{address},!{name},* {key}", False),
    ],
)
def test_a_key_is_revoked_by_patterns_and_for_all_ports_of_an_address(known, line, is_revoked):
    assert known("{name} {key}", line) != is_revoked


def test_a_hashed_line_revokes_a_key(known):
    assert not known("{name} {key}", "@revoked {hashed} {key}")


def test_known_hosts_that_others_may_change_meanwhile_are_not_believed(ssh_host, tmp_path):
    (tmp_path / "known_hosts").write_text(
        f"[{ssh_host.options.address}]:{ssh_host.options.port} {ssh_host.options.host_key[0]}\n"
    )
    host = ssh_host.changed(host_key=(), known_hosts=str(tmp_path / "known_hosts"))
    host.connect().close()

    (tmp_path / "known_hosts").chmod(0o666)

    with pytest.raises(HostKeyMismatch, match="changed by others"):
        host.connect()


def test_a_login_that_the_host_does_not_know_is_refused(ssh_host, tmp_path, monkeypatch):
    with pytest.raises(LoginRefused):
        ssh_host.changed(username="nobody-at-all").connect()

    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(LoginRefused) as refused:
        ssh_host.changed(key_file=None, password="env:SECRET").connect()
    assert "hunter2" not in str(refused.value)


def test_a_key_with_a_passphrase_opens_a_host(ssh_host, tmp_path, monkeypatch):
    key = tmp_path / "key"
    shutil.copy(ssh_host.options.key_file, key)
    subprocess.run([program("ssh-keygen"), "-q", "-p", "-P", "", "-N", PASSWORD, "-f", str(key)], check=True)
    host = ssh_host.changed(key_file=str(key), key_passphrase="env:SECRET")

    monkeypatch.setenv("SECRET", PASSWORD)
    host.connect().close()

    monkeypatch.setenv("SECRET", "wrong")
    with pytest.raises(LoginRefused, match="key_file cannot be used"):
        host.connect()


def test_a_key_or_secret_that_this_worker_lacks_is_reported(ssh_host, tmp_path, monkeypatch):
    monkeypatch.delenv("SECRET", raising=False)

    key = tmp_path / "key"
    key.touch(mode=0o600)
    host = ssh_host.changed(key_file=str(key))
    for change in (lambda: key.write_text("no key"), lambda: key.chmod(0o640), key.unlink):
        change()
        with pytest.raises(LoginRefused, match="key_file cannot be used"):
            host.connect()
    with pytest.raises(LoginRefused, match="password cannot be read"):
        ssh_host.changed(key_file=None, password="env:SECRET").connect()


def test_a_root_that_is_not_there_is_reported(ssh_host, tmp_path):
    with pytest.raises(MoveFailure), ssh_host.changed(root=str(tmp_path / "nothing" / "here")).connect() as files:
        files.create("/a", NewFile(0, 0o644, 0))


def test_failed_connections_leave_no_thread_and_no_descriptor(ssh_host):
    before = len(os.listdir("/proc/self/fd")), threading.active_count()

    ways: list[dict[str, Any]] = [{"port": free_port()}, {"host_key": OTHER_KEY}, {"username": "nobody-at-all"}]
    for changes in ways * 4:
        with pytest.raises(MoveFailure):
            ssh_host.changed(**changes).connect()

    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before[0], "no descriptor is left")
    eventually(lambda: threading.active_count() <= before[1], "no thread is left")


def test_an_abort_ends_what_blocks_in_another_thread(ssh_host):
    with ssh_host.connect() as files, files.create("/a", NewFile(2**40, 0o644, 0)) as writer:
        timer = threading.Timer(0.3, files.abort)
        timer.start()
        with pytest.raises(ConnectionLost):
            write_for_ever(writer)
        timer.join()


def test_a_host_that_dies_in_mid_transfer_is_a_lost_connection(tmp_path, host_table):
    with (
        openssh_server(tmp_path / "ssh") as server,
        host_table(server).connect() as files,
        files.create("/a", NewFile(2**40, 0o644, 0)) as writer,
    ):
        writer.write(bytes(2**18))
        subprocess.run(["pkill", "-KILL", "-P", str(server.pid)], check=True)
        with pytest.raises(ConnectionLost):
            write_for_ever(writer)


def test_an_abort_ends_reading_in_another_thread(ssh_host):
    (ssh_host.root / "a").write_bytes(b"x")
    with (ssh_host.root / "a").open("r+b") as sparse:
        sparse.truncate(2**36)

    with ssh_host.connect() as files, files.open("/a") as reader:
        timer = threading.Timer(0.3, files.abort)
        timer.start()
        with pytest.raises(ConnectionLost):
            for _ in reader.blocks():
                pass
        timer.join()


def test_a_host_that_freezes_is_noticed_within_the_idle_time_out(tmp_path, host_table):
    with openssh_server(tmp_path / "ssh") as server:
        host = host_table(server).changed(idle_timeout_seconds=0.5)
        with host.connect() as files:
            sessions = descendants(server.pid)
            for pid in sessions:
                os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises((Stalled, ConnectionLost)):
                files.stat("/a")
            with pytest.raises((Stalled, ConnectionLost)):
                files.stat("/a")
            took = time.monotonic() - began
            for pid in sessions:
                os.kill(pid, signal.SIGCONT)

    assert took < 5


def test_a_password_opens_a_host_that_takes_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", PASSWORD)
    with asyncssh_server(tmp_path / "keys") as server:
        table = server.options(tmp_path, key_file=None, password="env:SECRET")

        with Host("vis", SshOptions.model_validate(table), tmp_path).connect() as files:
            assert files.stat("/keys") is not None

        monkeypatch.setenv("SECRET", "wrong")
        with pytest.raises(LoginRefused):
            Host("vis", SshOptions.model_validate(table), tmp_path).connect()


def test_what_a_command_says_is_limited(openssh, host_table):
    connection = SshConnection.open("vis", host_table(openssh).options)

    assert connection.run("yes").status == -1

    connection.close()


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr"])
def test_bytes_arrive_whatever_the_cipher_is_while_keys_are_changed(cipher, tmp_path, host_table, monkeypatch):
    monkeypatch.setattr(BurstPacketizer, "REKEY_BYTES", 2**20)
    content = os.urandom(5 * 2**20 + 1)
    with openssh_server(tmp_path / "ssh", extra=f"Ciphers {cipher}") as server:
        host = host_table(server)
        with host.connect() as files:
            with files.create("/new", NewFile(len(content), 0o644, 1e9)) as writer:
                for start in range(0, len(content), 2**18):
                    writer.write(content[start : start + 2**18])
                writer.commit()
            with files.open("/new") as reader:
                assert b"".join(reader.blocks()) == content
    assert (host.root / "new").read_bytes() == content


@pytest.mark.parametrize("has", [3, 2, 1, 0])
def test_the_digest_is_computed_by_whatever_the_host_has(has, tmp_path, host_table):
    programs = {"sha256sum": program("sha256sum"), "python3": sys.executable, "openssl": program("openssl")}
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ["head", *programs][: 1 + has]:
        (directory / name).symlink_to(programs.get(name) or program(name))
    content = os.urandom(300_000)
    narrowed = f'ForceCommand PATH={directory} exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
    with openssh_server(tmp_path / "ssh", extra=narrowed) as server:
        host = host_table(server)
        (host.root / "file").write_bytes(content)
        for count in (None, 100_000):
            connection = SshConnection.open("vis", host.options)
            found = connection.sha256(str(host.root / "file"), len(content), count)
            assert found == (hashlib.sha256(content[:count]).hexdigest() if has else None)
            connection.close()


@pytest.mark.parametrize("way", ["send", "send_stderr", "unopened"])
def test_a_host_that_ignores_the_window_loses_the_connection(way, tmp_path):
    with flooding_server(tmp_path / "ssh", way) as flood:
        connection = SshConnection.open("vis", SshOptions.model_validate(flood.server.options(tmp_path)))
        with suppress(ConnectionLost):
            connection.start("nobody reads what it says")
        eventually(lambda: not connection.alive or flood.sent_bytes >= FLOOD_BYTES, "the host was stopped, or is done")
        connection.close()

    assert WINDOW_BYTES < flood.sent_bytes < 2 * WINDOW_BYTES


@pytest.fixture(params=["sftp", "scp"])
def host_table(request, tmp_path):
    def make(server):
        root = tmp_path / "root"
        root.mkdir()
        table = server.options(root, protocol=request.param, idle_timeout_seconds=5)
        return Host("vis", SshOptions.model_validate(table), root)

    return make
