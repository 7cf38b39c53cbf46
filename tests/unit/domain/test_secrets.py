"""Which files are fit for secrets."""

import os

import pytest

from data_mover.domain.secrets import SecretReference, privacy_problem, writing_problem


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_text("secret\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o440])
def test_what_others_may_read_is_none(key, mode):
    key.chmod(mode)

    assert "run: chmod 600" in privacy_problem(key)


@pytest.mark.parametrize(("mode", "is_fit"), [(0o755, True), (0o1777, True), (0o777, False), (0o757, False)])
def test_what_stands_where_others_may_write_is_none(key, mode, is_fit):
    key.parent.chmod(mode)

    assert (privacy_problem(key) is None) == is_fit
    assert (writing_problem(key) is None) == is_fit


def test_a_group_of_the_owner_alone_is_nobody_else(key, monkeypatch):
    key.chmod(0o660)
    assert writing_problem(key) is None

    if os.getuid() == 0:
        os.chown(key, 0, 1)
        assert "can be written by others" in writing_problem(key)


def test_a_credential_of_systemd_has_an_acl_that_shows_as_rights_of_a_group(key, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(key.parent))
    key.chmod(0o440)

    assert privacy_problem(key) is None
    assert SecretReference("credential", "key").read() == "secret"
    key.chmod(0o444)
    assert "can be read by others" in privacy_problem(key)
