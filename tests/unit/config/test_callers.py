"""The callers' file: what it grants, and every mistake in it by its key."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from data_mover.config.callers import load_callers, parse_callers
from data_mover.domain.errors import ConfigurationError
from data_mover.domain.rights import PathPrefix, Verb

NOW = datetime(2027, 6, 30, 12, tzinfo=UTC)
ONE, TWO = (sha256(token.encode()).hexdigest() for token in ("one", "two"))


def callers(tmp_path, text):
    return parse_callers(text, tmp_path / "callers.toml")


def table(text):
    return f'[callers.portal]\ntoken_sha256 = ["{ONE}"]\n{text}\n'


def problems(tmp_path, text):
    with pytest.raises(ConfigurationError) as error:
        callers(tmp_path, text)
    return {problem.key: problem.sentence for problem in error.value.problems}


def test_nothing_is_granted_that_is_not_written(tmp_path):
    portal = callers(tmp_path, table("")).named("portal", None)

    assert portal.rights.verbs == {Verb.MOVE, Verb.PLAN, Verb.CHECK, Verb.CANCEL, Verb.RETRY}
    assert not portal.rights.prefixes
    assert not portal.rights.types
    assert not portal.rights.web


@pytest.mark.parametrize(
    ("prefix", "path", "covered"),
    [
        ("/maps/", "/maps/a", True),
        ("/maps/", "/maps/a/b/", True),
        ("/maps/", "/maps", True),
        ("/maps/", "/maps/", True),
        ("/maps/", "/maps-old/a", False),
        ("/maps/", "/", False),
        ("/maps", "/maps/a", True),
        ("/maps", "/mapsa", False),
        ("/maps/a.tif", "/maps/a.tif", True),
        ("/maps/a.tif", "/maps/a.tiff", False),
        ("/", "/maps", True),
    ],
)
def test_a_prefix_covers_whole_segments(prefix, path, covered):
    assert PathPrefix("vis", prefix).covers("vis", path) is covered
    assert not PathPrefix("vis", prefix).covers("hpc", path)


def test_a_directory_that_may_be_written_to_is_no_file_of_its_own_name():
    assert not PathPrefix("vis", "/maps/").has_file("vis", "/maps")
    assert PathPrefix("vis", "/maps/").has_file("vis", "/maps/a")
    assert PathPrefix("vis", "/maps").has_file("vis", "/maps")


@pytest.mark.parametrize(
    ("terms", "when", "known"),
    [
        ("", NOW, True),
        ("expires = 2027-06-30", NOW, True),
        ("expires = 2027-06-29", NOW, False),
        ("expires = 2027-06-30T12:00:00Z", NOW, False),
        ("expires = 2027-06-30T14:30:00+02:00", NOW, True),
        ("not_before = 2027-06-30", NOW, True),
        ("not_before = 2027-07-01", NOW, False),
        ("not_before = 2027-07-01", NOW + timedelta(days=1), True),
        ('networks = ["192.0.2.0/24"]', NOW, True),
        ('networks = ["198.51.100.0/24", "::1/128"]', NOW, False),
        ("networks = []", NOW, False),
    ],
)
def test_a_token_is_known_within_its_terms(tmp_path, terms, when, known):
    found = callers(tmp_path, table(terms))

    assert (found.authenticated("portal", "one", "192.0.2.7", when) is not None) is known
    assert (found.authenticated(None, "one", "::ffff:192.0.2.7", when) is not None) is known


def test_a_token_narrows_its_caller(tmp_path):
    text = f"""
[callers.portal]
networks = ["192.0.2.0/24"]
expires = 2027-12-31
token_sha256 = ["{ONE}", {{ sha256 = "{TWO}", networks = ["192.0.2.8/32"], verbs = ["check"], expires = 2027-07-01 }}]
"""
    found = callers(tmp_path, text)

    assert found.authenticated(None, "one", "192.0.2.7", NOW).caller.may(Verb.MOVE)
    assert found.authenticated(None, "two", "192.0.2.7", NOW) is None
    assert found.authenticated(None, "two", "192.0.2.8", NOW).caller.rights.verbs == {Verb.CHECK}
    assert found.authenticated(None, "two", "192.0.2.8", NOW + timedelta(days=3)) is None
    assert found.authenticated(None, "one", "198.51.100.1", NOW) is None


def test_operate_is_three_verbs(tmp_path):
    portal = callers(tmp_path, table('verbs = ["check", "operate"]')).named("portal", None)

    assert portal.rights.verbs == {Verb.CHECK, Verb.SEE_ALL, Verb.ACT_ALL, Verb.HOSTS}


def test_every_mistake_is_reported_by_its_key_and_no_token_is_shown(tmp_path):
    text = """
[callers.portal]
token_sha256 = ["dm_portal_secret", { sha256 = "AB" }]
expires      = "tomorrow"
not_before   = 2027-06-30T12:00:00
networks     = ["office"]
verbs        = ["everything"]
sources      = ["archive/species/", "archive:species"]
destinations = [{ at = "vis:/maps/", may = ["replace"] }, { at = "vis:/../", may = ["create"] }, 7]
colour       = "red"

[callers.portal.quota]
queued = -1

[callers."bad name"]

[issuer.campus]
"""
    found = problems(tmp_path, text)

    assert set(found) == {
        "issuer",
        "callers.bad name",
        "callers.portal.token_sha256.0.sha256",
        "callers.portal.token_sha256.1.sha256",
        "callers.portal.expires",
        "callers.portal.not_before",
        "callers.portal.networks",
        "callers.portal.verbs",
        "callers.portal.destinations.0",
        "callers.portal.destinations.1.at",
        "callers.portal.destinations.2",
        "callers.portal.quota.queued",
        "callers.portal.colour",
    }
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("text", "key", "sentence"),
    [
        ("", "file", "names no caller"),
        ("[callers]\n", "file", "names no caller"),
        ("callers = 7\n", "callers", "must contain tables"),
        ("[callers.portal", "file", "is not TOML"),
        ("[callers.portal]\nverbs = []", "file", "ends in the middle of a line"),
        (table('sources = ["archive"]'), "callers.portal", "must be host:/prefix/"),
        (table(f'[callers.other]\ntoken_sha256 = ["{ONE}"]'), "callers.other.token_sha256", "callers.portal has it"),
        (f'[callers.a]\ntoken_sha256 = ["{sha256().hexdigest()}"]\n', "callers.a.token_sha256.0.sha256", "empty token"),
        (
            f'[callers.a]\nverbs = ["check"]\ntoken_sha256 = [{{ sha256 = "{ONE}", verbs = ["move"] }}]\n',
            "callers.a",
            "a token may narrow its caller",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, text, key, sentence):
    assert sentence in problems(tmp_path, text)[key]


def test_a_file_that_others_can_read_is_refused(tmp_path):
    (tmp_path / "callers.toml").write_text(table(""))
    (tmp_path / "callers.toml").chmod(0o640)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_callers(tmp_path / "callers.toml")
