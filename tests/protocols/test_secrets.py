"""What is told of a login whose secret cannot be read: callers are told the registry's key for it, and no more."""

import os
from typing import Any

import pytest

from data_mover.backends import PROTOCOLS, connect
from data_mover.domain.errors import LoginRefused

#: all protocols with a login, each with what the registry must say
_TABLES: dict[str, dict[str, Any]] = {
    "http": {"protocol": "https", "address": "host.invalid"},
    "webdav": {"protocol": "webdav", "endpoint": "https://host.invalid"},
    "sftp": {"protocol": "sftp", "address": "host.invalid", "username": "me"},
    "scp": {"protocol": "scp", "address": "host.invalid", "username": "me"},
    "s3": {"protocol": "s3", "endpoint": "https://host.invalid", "bucket": "bucket"},
}
_OTHERS = {"access_key": "secret_key", "secret_key": "access_key"}


@pytest.fixture
def unread(tmp_path):
    """References to secrets that stand nowhere, that others may read, and that are no text."""
    (tmp_path / "open-secret").write_text("hunter2")
    (tmp_path / "open-secret").chmod(0o600)
    (tmp_path / "binary-secret").write_bytes(b"\xff\xfe")
    (tmp_path / "binary-secret").chmod(0o600)
    return [f"file:{tmp_path}/{name}-secret" for name in ("missing", "open", "binary")] + ["env:UNSET_SECRET"]


@pytest.mark.parametrize(
    ("protocol", "key"),
    [
        ("http", "bearer"),
        ("http", "password"),
        ("http", "cookie"),
        ("http", "headers.X-Api-Key"),
        ("webdav", "bearer"),
        ("webdav", "password"),
        ("sftp", "password"),
        ("scp", "password"),
        ("s3", "access_key"),
        ("s3", "secret_key"),
    ],
)
def test_a_login_that_cannot_be_read_names_its_key_and_no_path(openssh, unread, tmp_path, protocol, key, monkeypatch):
    monkeypatch.setenv("READ_SECRET", "anything")
    monkeypatch.delenv("UNSET_SECRET", raising=False)
    table = {"root": "/", "roles": ["source"], **_TABLES[protocol]}
    if protocol in ("sftp", "scp"):
        table |= {"address": openssh.address, "port": openssh.port, "host_key": openssh.host_key}
    if key in _OTHERS:
        table[_OTHERS[key]] = "env:READ_SECRET"
    if protocol in ("http", "webdav") and key == "password":
        table["username"] = "me"

    for reference in unread:
        name, _, field = key.partition(".")
        options = PROTOCOLS[table["protocol"]].options.model_validate(
            table | {name: {field: reference} if field else reference}
        )
        os.chmod(tmp_path / "open-secret", 0o644)
        with pytest.raises(LoginRefused) as refused:
            connect("vis", options)
        os.chmod(tmp_path / "open-secret", 0o600)

        assert f"vis: its {key} cannot be read" in refused.value.reason
        assert not any(word in refused.value.reason for word in ("file:", "env:", str(tmp_path), "SECRET", "hunter2"))
