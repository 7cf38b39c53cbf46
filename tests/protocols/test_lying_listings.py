"""Listings of hosts that break or lie at one point: no part of a directory passes for the whole of it."""

import os
import shutil

import pytest

from data_mover.backends import PROTOCOLS, connect
from data_mover.domain.errors import ConnectionLost, HostFailed, Stalled, TooLarge
from data_mover.domain.selection import Selection
from data_mover.domain.states import FileKind
from data_mover.transfer import list_source
from tests.servers.faulty_sftp import Fault, faulty_server
from tests.servers.openssh import openssh_server

COUNT = 300
NAMES = {f"name {number}" for number in range(COUNT)}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for name in NAMES:
        (root / name).write_bytes(b"mine")
    return root


def anywhere(path):
    """Lets every directory be listed."""


def connected(server, root, idle_seconds=1, **options):
    table = server.options(root, idle_timeout_seconds=idle_seconds, connect_timeout_seconds=5, **options)
    return connect("vis", PROTOCOLS[table["protocol"]].options.model_validate(table))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    with faulty_server(tmp_path_factory.mktemp("faulty")) as server:
        yield server


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Fault("opendir", "fails"), HostFailed),
        (Fault("opendir", "is answered with another kind"), ConnectionLost),
        (Fault("readdir", "fails", 2), HostFailed),
        (Fault("readdir", "cuts", 2), ConnectionLost),
        (Fault("readdir", "is dropped", 2), Stalled),
        (Fault("readdir", "is answered twice", 2), ConnectionLost),
        (Fault("readdir", "is answered with garbage", 2), ConnectionLost),
        (Fault("readdir", "is answered with another kind", 2), ConnectionLost),
    ],
    ids=lambda value: f"{value.requests} {value.deed}" if isinstance(value, Fault) else "",
)
def test_a_listing_that_breaks_off_is_reported(faulty, root, fault, failure):
    faulty.fault = fault

    with connected(faulty.server, root) as files, pytest.raises(failure, match="vis"):
        list(files.list("/"))


def test_a_host_that_reports_only_names_is_asked_for_the_rest(faulty, root):
    faulty.fault = Fault("readdir", "reports no attributes")

    with connected(faulty.server, root) as files:
        reported = list(files.list("/"))

    assert {entry.name for entry in reported} == NAMES
    assert {(entry.kind, entry.size_bytes) for entry in reported} == {(FileKind.FILE, 4)}


def test_a_name_that_leads_elsewhere_leads_nowhere(faulty, root):
    faulty.fault = Fault("readdir", "reports another path")

    with connected(faulty.server, root) as files:
        reported = list(files.list("/"))

    assert {(entry.kind, entry.size_bytes) for entry in reported} == {(FileKind.OTHER, None)}


@pytest.mark.parametrize("match", [(), ("nothing",)])
def test_directories_without_end_are_counted_while_they_are_told(faulty, root, match):
    faulty.fault = Fault("readdir", "is without end")
    most, seen = 5000, list[None]()

    def look():
        seen.append(None)
        if len(seen) > most:
            raise TooLarge("vis")

    with connected(faulty.server, root) as files, pytest.raises(TooLarge):
        list(list_source(files, "/", Selection(match), look, anywhere))

    assert len(seen) == most + 1


@pytest.fixture
def with_program(tmp_path, root):
    """Connects to a host where a program of that name is another one."""
    programs = tmp_path / "programs"
    programs.mkdir()
    forced = f'PATH={programs}:$PATH exec sh -c "$SSH_ORIGINAL_COMMAND"'

    def connect_(name, text):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
        return connected(server, root, idle_seconds=4, protocol="scp")

    with openssh_server(tmp_path / "ssh", extra=f"ForceCommand {forced}") as server:
        yield connect_


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("exit 1", HostFailed),
        ('command -p find "$@"; exit 1', HostFailed),
        ("kill -9 $PPID", (HostFailed, ConnectionLost)),
        ("echo Welcome", ConnectionLost),
        ("echo Welcome//", ConnectionLost),
        ("exec yes", ConnectionLost),
        ("exec sleep 60", Stalled),
    ],
)
def test_a_shell_whose_find_is_none_is_reported(with_program, text, failure):
    with with_program("find", text) as files, pytest.raises(failure, match="vis"):
        list(files.list("/"))


def test_what_goes_away_while_a_shell_lists_it_leaves_the_others_be(with_program, root):
    gone = root / "gone"
    gone.touch()
    text = f'if [ "$1" = -c ]; then rm -f {gone}; fi; exec {shutil.which("stat")} "$@"'

    with with_program("stat", text) as files:
        reported = [entry.name for entry in files.list("/")]

    assert sorted(reported) == sorted(NAMES)
    assert sorted(os.listdir(root)) == sorted(NAMES)


def test_a_shell_that_cannot_list_what_is_there_is_reported(with_program):
    text = f'case "$*" in *"name 7 "*|*"name 7") exit 1;; esac; exec {shutil.which("stat")} "$@"'

    with with_program("stat", text) as files, pytest.raises(HostFailed, match="vis:/"):
        list(files.list("/"))
