"""The ini of a deployment."""

import pytest

from data_mover.config.settings import Settings
from data_mover.domain.errors import ConfigurationError
from data_mover.domain.locations import Endpoint

GOOD = {
    "sqlalchemy.url": "sqlite:////var/lib/data_mover/jobs.db",
    "redis.url": "redis://127.0.0.1:6379/0",
    "data_mover.registry": "/etc/data_mover/registry.toml",
    "data_mover.callers": "none",
    "data_mover.default_destination": "visualizer:/",
    "data_mover.state_dir": "/var/lib/data_mover",
}


def problems_of(settings):
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_mapping(settings)
    return {problem.key: problem.sentence for problem in refused.value.problems}


def test_settings_have_defaults_and_leave_other_packages_keys_alone():
    settings = Settings.from_mapping({**GOOD, "pyramid.includes": "x", "use": "egg:data_mover"})

    assert settings.default_destination == Endpoint("visualizer", "/")
    assert (settings.lease_seconds, settings.beat_seconds, settings.deadline_seconds) == (30, 2, 86_400)


def test_every_problem_is_reported_at_once_with_its_key():
    found = problems_of(
        {
            "sqlalchemy.url": "nonsense",
            "redis.url": "http://x",
            "redis.password": "hunter2",
            "data_mover.callers": "",
            "data_mover.default_destination": "visualizer/maps",
            "data_mover.state_dir": "/var/lib/data_mover",
            "data_mover.lease_second": "30",
            "data_mover.beat_seconds": "often",
        }
    )

    assert set(found) == {
        "sqlalchemy.url",
        "redis.url",
        "redis.password",
        "data_mover.registry",
        "data_mover.callers",
        "data_mover.default_destination",
        "data_mover.lease_second",
        "data_mover.beat_seconds",
    }
    assert found["data_mover.registry"] == "is missing"
    assert found["data_mover.lease_second"] == "unknown key"


@pytest.mark.parametrize(
    ("key", "url"),
    [("sqlalchemy.url", "postgresql://me:hunter2@db/x"), ("redis.url", "redis://:hunter2@127.0.0.1/0")],
)
def test_a_password_in_a_url_is_refused_with_the_way_out_and_never_repeated(key, url):
    sentence = problems_of({**GOOD, key: url})[key]

    assert f"{key.split('.')[0]}.password = env:NAME or file:/path" in sentence
    assert "hunter2" not in sentence


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sqlalchemy.url", "sqlite://"),
        ("sqlalchemy.url", "sqlite:///:memory:"),
        ("sqlalchemy.url", "mysql://db/x"),
        ("sqlalchemy.url", "postgresql://me@db/x?password=hunter2"),
        ("redis.url", "redis://127.0.0.1/0?password=hunter2"),
        ("data_mover.beat_seconds", "20"),
    ],
)
def test_what_could_not_work_is_refused(key, value):
    assert set(problems_of({**GOOD, key: value})) == {key}


@pytest.mark.parametrize("text", ["", "[server:main]\n", "no section", "[app:main]\nuse = egg:data_mover\nx = %(y)s\n"])
def test_an_ini_that_cannot_be_read_is_reported_as_a_problem(tmp_path, text):
    ini = tmp_path / "broken.ini"
    ini.write_text(text)

    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings.from_ini(str(ini))


def test_passwords_are_read_from_their_places_when_they_are_needed(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_text("p@ss/word\n")
    secret.chmod(0o600)
    monkeypatch.setenv("REDIS_SECRET", "hunter2")
    settings = Settings.from_mapping(
        {
            **GOOD,
            "sqlalchemy.url": "postgresql://me@db/x",
            "sqlalchemy.password": f"file:{secret}",
            "redis.password": "env:REDIS_SECRET",
        }
    )

    assert settings.database_url().password == "p@ss/word"
    assert settings.redis_secret() == "hunter2"
    assert "hunter2" not in repr(settings)
    assert "p@ss" not in repr(settings)


def test_a_secret_that_is_not_there_is_reported_by_its_key(monkeypatch):
    monkeypatch.delenv("REDIS_SECRET", raising=False)
    settings = Settings.from_mapping({**GOOD, "redis.password": "env:REDIS_SECRET"})

    with pytest.raises(ConfigurationError, match=r"redis\.password: the environment variable REDIS_SECRET is not set"):
        settings.redis_secret()


def test_the_state_directory_is_made_for_this_user_alone(tmp_path):
    settings = Settings.from_mapping({**GOOD, "data_mover.state_dir": str(tmp_path / "a" / "state")})

    made = settings.make_state_dir()

    assert made.stat().st_mode & 0o777 == 0o700


def test_a_state_directory_that_cannot_be_made_is_reported_by_its_key(tmp_path):
    (tmp_path / "file").write_text("")
    settings = Settings.from_mapping({**GOOD, "data_mover.state_dir": str(tmp_path / "file")})

    with pytest.raises(ConfigurationError, match=r"data_mover\.state_dir"):
        settings.make_state_dir()
