"""Which files are fit for secrets."""

import grp
import os
import pwd
from types import SimpleNamespace

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


@pytest.fixture
def users(monkeypatch):
    """Sets who there is: names with their primary groups, and the members of the group of the files."""

    def there_are(owner, group, members=(), **primary_groups):
        me = SimpleNamespace(pw_name=owner, pw_gid=os.getgid())
        others = [SimpleNamespace(pw_name=name, pw_gid=number) for name, number in primary_groups.items()]
        monkeypatch.setattr(pwd, "getpwuid", lambda number: me)
        monkeypatch.setattr(pwd, "getpwall", lambda: [me, *others])
        entry = SimpleNamespace(gr_name=group, gr_gid=os.getgid(), gr_mem=list(members))
        monkeypatch.setattr(grp, "getgrgid", lambda number: entry)

    return there_are


def test_a_group_that_others_have_as_their_primary_one_is_of_others(key, users):
    key.chmod(0o660)

    users("mover", "mover")
    assert writing_problem(key) is None

    users("mover", "mover", members=["mover"])
    assert writing_problem(key) is None

    users("mover", "mover", members=["somebody"])
    assert "can be written by others" in writing_problem(key)

    users("mover", "mover", somebody=os.getgid())
    assert "can be written by others" in writing_problem(key)

    users("mover", "users")
    assert "can be written by others" in writing_problem(key)


def test_what_a_link_leads_to_is_looked_at_and_the_link_itself(key, tmp_path):
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "open").chmod(0o777)
    key.rename(tmp_path / "closed" / "key")
    key.symlink_to("closed/key")
    assert privacy_problem(key) is None

    (tmp_path / "open" / "link").symlink_to("../closed/key")
    assert f"chmod go-w {tmp_path}/open" in privacy_problem(tmp_path / "open" / "link")
    key.unlink()
    key.symlink_to("open/link")
    assert f"chmod go-w {tmp_path}/open" in privacy_problem(key)

    (tmp_path / "closed" / "key").rename(tmp_path / "open" / "key")
    key.unlink()
    key.symlink_to("open/key")
    assert f"chmod go-w {tmp_path}/open" in privacy_problem(key)

    key.unlink()
    key.symlink_to("key")
    assert writing_problem(key) is None  # it leads nowhere: whoever reads it is told


def test_what_belongs_to_somebody_else_is_changed_by_them(key, monkeypatch):
    mine = os.getuid()
    assert writing_problem(key) is None
    if mine != 0:
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        assert "belongs to another user" in writing_problem(key)
        return

    os.chown(key, 12345, -1)
    assert f"chown root {key}" in writing_problem(key)
    os.chown(key.parent, 12345, -1)
    assert writing_problem(key) is None  # root looks at the files of services

    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert f"belongs to another user, who can change it; run: chown {pwd.getpwuid(1).pw_name} " in writing_problem(key)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert writing_problem(key) is None


def test_a_credential_of_systemd_has_an_acl_that_shows_as_rights_of_a_group(key, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(key.parent))
    key.chmod(0o440)

    assert privacy_problem(key) is None
    assert SecretReference("credential", "key").read() == "secret"
    key.chmod(0o444)
    assert "can be read by others" in privacy_problem(key)
