"""`data_mover callers`: what operators do with the callers' file."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from data_mover.cli.main import main
from data_mover.config.callers import load_callers
from data_mover.domain.rights import Verb
from data_mover.store import migrations, token_uses
from data_mover.store.database import Database
from data_mover.store.token_uses import LastUse
from tests.servers.deployment import INI

TODAY = datetime.now(UTC)


@pytest.fixture
def ini(tmp_path):
    text = INI.format(
        database_url=f"sqlite:///{tmp_path}/jobs.db", redis_url="redis://127.0.0.1:1/0", port=1, extra="", pace=""
    )
    path = tmp_path / "service.ini"
    path.write_text(text.replace("callers = none", f"callers = {tmp_path}/callers.toml"))
    return path


@pytest.fixture
def database(tmp_path):
    database = Database(make_url(f"sqlite:///{tmp_path}/jobs.db"))
    migrations.upgrade(database.engine)
    yield database
    database.close()


@pytest.fixture
def run(ini):
    def run_(*arguments):
        return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["-c", str(ini), "callers", *arguments])

    return run_


@pytest.fixture
def path(tmp_path):
    return tmp_path / "callers.toml"


def known(path, token, days=0, address="192.0.2.7"):
    found = load_callers(path).authenticated(None, token, address, TODAY + timedelta(days=days))
    return found.caller if found else None


def test_a_caller_that_is_added_is_known_by_the_token_that_was_printed(run, path):
    added = run("add", "portal", "--source", "archive:/species/", "--source", "web", "--destination", "vis:/maps/")

    assert added.exit_code == 0, added.output
    token = added.stdout.strip()
    assert token.startswith("dm_portal_")
    assert [len(part) for part in token.split("_")[2:]] == [40, 6]
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    caller = known(path, token)
    assert caller.rights.may_read("archive", "/species/a")
    assert caller.rights.web
    assert caller.rights.replaces == caller.rights.creates
    assert known(path, token, days=90)
    assert known(path, token, days=92) is None


def test_a_caller_may_get_more_and_less(run, path):
    arguments = ["--verb", "check", "--verb", "operate", "--create", "vis:/drop/", "--network", "192.0.2.0/24"]
    token = run("add", "boss", "--days", "3", *arguments).stdout.strip()

    caller = known(path, token)
    assert caller.rights.verbs == {Verb.CHECK, Verb.SEE_ALL, Verb.ACT_ALL, Verb.HOSTS}
    assert caller.rights.replaces == ()
    assert known(path, token, days=5) is None
    assert known(path, token, address="198.51.100.1") is None


def test_what_somebody_wrote_by_hand_stays_as_it_is(run, path):
    by_hand = f"""# ours
[callers.old]   # since 2026
token_sha256 = ["{sha256(b"x").hexdigest()}"]
"""
    path.touch(0o600)
    path.write_text(by_hand)

    assert run("add", "portal").exit_code == 0

    assert path.read_text().startswith(by_hand.rstrip())
    assert set(load_callers(path).callers) == {"old", "portal"}


def test_a_token_is_replaced_without_a_gap(run, path):
    first = run("add", "portal").stdout.strip()

    rotated = run("rotate", "portal", "--keep", "2")

    second = rotated.stdout.strip()
    assert rotated.exit_code == 0, rotated.output
    assert known(path, first)
    assert known(path, second)
    assert known(path, first, days=4) is None
    assert known(path, second, days=80)
    third = run("rotate", "portal", "--keep", "0").stdout.strip()
    assert known(path, first) is known(path, second) is None
    assert known(path, third)


def test_a_caller_with_an_end_of_its_own_gets_a_token_that_outlives_it(run, path):
    path.touch(0o600)
    tomorrow = (TODAY + timedelta(days=1)).date()
    path.write_text(f'[callers.portal]\nexpires = {tomorrow}\ntoken_sha256 = ["{sha256(b"old").hexdigest()}"]\n')

    token = run("rotate", "portal").stdout.strip()

    assert known(path, token, days=80)
    assert known(path, "old")
    assert known(path, "old", days=3) is None


def test_a_caller_is_removed_but_not_the_last_one(run, path):
    run("add", "portal")
    token = run("add", "other").stdout.strip()

    assert run("remove", "other").exit_code == 0
    assert known(path, token) is None
    last = run("remove", "portal")
    assert last.exit_code == 1
    assert "last caller" in last.output
    assert "portal" in load_callers(path).callers


def test_the_list_shows_when_a_token_was_used_and_no_token(run, path, database):
    token = run("add", "portal", "--source", "archive:/", "--create", "vis:/drop/").stdout.strip()
    run("add", "other", "--source", "*")
    digest = sha256(token.encode()).hexdigest()
    with database.writing() as session:
        token_uses.record(session, [LastUse(digest, "portal", 1_800_000_000_000, "192.0.2.7")])
        token_uses.record(session, [LastUse(digest, "portal", 1_800_000_060_000, "192.0.2.8")])

    listed = run("list")

    assert listed.exit_code == 0, listed.output
    words = listed.stdout.split()
    assert {digest[:8], "archive:/", "2027-01-15", "192.0.2.8", "never"} <= set(words)
    assert token not in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["add", "bad name"], "a name has letters"),
        (["add", "portal", "--source", "archive"], "must be host:/prefix/"),
        (["add", "portal", "--verb", "fly"], "must be a list of move"),
        (["rotate", "nobody"], "there is no caller nobody"),
        (["remove", "nobody"], "there is no caller nobody"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(run, path, arguments, sentence):
    run("add", "first")
    before = path.read_text()

    failed = run(*arguments)

    assert failed.exit_code == 1
    assert sentence in failed.output
    assert path.read_text() == before
    assert [each.name for each in path.parent.glob(".callers*")] == []


def test_a_file_that_others_can_read_is_not_written_to(run, path):
    run("add", "first")
    path.chmod(0o644)

    assert "chmod 600" in run("add", "second").output
    assert "second" not in path.read_text()


def test_without_a_callers_file_it_says_what_to_write(run, ini):
    ini.write_text(ini.read_text().replace("callers.toml", "").replace(f"callers = {ini.parent}/", "callers = none"))

    assert "data_mover.callers = /etc/data_mover/callers.toml" in run("list").output
