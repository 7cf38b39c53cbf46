"""Servers that speak WebDAV: Apache with its own mod_dav, as many institutes run it, and rclone."""

import hashlib
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.processes import LOOPBACK, absent, free_port, program, running, started
from tests.servers.web import make_certificates

USERNAME, PASSWORD = "mover", "a secret of the tests"
MODULES = Path("/usr/lib/apache2/modules")
#: with `dir` as everywhere, which leads away from a directory that is asked for without its slash
_MODULES = ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic"]
_MODULES += ["dir", "ssl", "dav", "dav_fs"]

_CONFIG = """
ServerName localhost
Listen {address}:{port} https
PidFile {directory}/apache.pid
ErrorLog {directory}/apache.log
DavLockDB {directory}/locks
Mutex file:{directory}
User {user}
Group {group}
StartServers 1
{modules}
SSLEngine on
SSLCertificateFile {certificate}
DocumentRoot /
<Directory />
    Dav On
    AuthType Basic
    AuthName tests
    AuthUserFile {directory}/users
    Require valid-user
</Directory>
"""


@dataclass(frozen=True)
class WebdavServer:
    """A server that shows the whole disk, as it is at the moment."""

    port: int
    #: with its authority and the password; None without TLS
    directory: Path | None = None

    def options(self, root: Path | str, **changes: Any) -> dict[str, Any]:
        """Return its entry in a registry."""
        table: dict[str, Any] = {"protocol": "webdav", "endpoint": f"http://{LOOPBACK}:{self.port}"}
        if self.directory:
            table["endpoint"] = f"https://{LOOPBACK}:{self.port}"
            table["ca_file"] = str(self.directory / "ca.pem")
            table |= {"username": USERNAME, "password": f"file:{self.directory}/password"}
        return {**table, "root": str(root), "roles": ["source", "destination"], **changes}


@contextmanager
def apache_server(directory: Path) -> Iterator[WebdavServer]:
    """Apache refuses to run as root: a library makes it believe that root has become another user."""
    apache, port, log = program("apache2"), free_port(), directory / "apache.log"
    digest = b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (directory / "users").write_text(f"{USERNAME}:{{SHA}}{digest}\n")
    (directory / "password").touch(mode=0o600)
    (directory / "password").write_text(PASSWORD)
    (directory / "apache.conf").write_text(
        _CONFIG.format(
            address=LOOPBACK,
            port=port,
            directory=directory,
            user="www-data",
            group="www-data",
            modules="\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in _MODULES),
            certificate=make_certificates(directory, LOOPBACK),
        )
    )
    command = [apache, "-D", "FOREGROUND", "-f", str(directory / "apache.conf")]
    with running(command, log, env={**os.environ, **another_user()}) as process:
        started(process, port, log)
        yield WebdavServer(port, directory)


@contextmanager
def rclone_webdav_server(directory: Path) -> Iterator[WebdavServer]:
    """It caches nothing, so that it shows the disk as it is: listing a directory costs the square of its entries."""
    port, log = free_port(), directory / "rclone.log"
    command = [program("rclone"), "serve", "webdav", "/", "--addr", f"{LOOPBACK}:{port}", "--config", ""]
    with running([*command, "--dir-cache-time", "0"], log) as process:
        started(process, port, log)
        yield WebdavServer(port)


def another_user() -> dict[str, str]:
    """What makes root seem to become another user."""
    if os.geteuid() != 0:
        return {}
    wrappers = list(Path("/usr/lib").glob("*/libuid_wrapper.so"))
    if not wrappers:
        absent("libuid-wrapper is not installed")
    return {"LD_PRELOAD": str(wrappers[0]), "UID_WRAPPER": "1"}
