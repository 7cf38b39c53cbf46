"""A real Apache in front of a service."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import LOOPBACK, free_port, program, running, started
from tests.servers.webdav import MODULES, another_user

_CONFIG = """
ServerName localhost
Listen {address}:{port} https
PidFile {directory}/apache.pid
ErrorLog {directory}/apache.log
Mutex file:{directory}
User www-data
Group www-data
StartServers 1
{modules}
SSLEngine on
SSLCertificateFile {certificate}
{lines}
"""


@contextmanager
def apache_proxy(directory: Path, lines: str, certificate: Path) -> Iterator[int]:
    """The port of a proxy that speaks TLS, with these lines in its only host."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    names = ["mpm_event", "authz_core", "ssl", "headers", "proxy", "proxy_http"]
    modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in names)
    values = {"address": LOOPBACK, "port": port, "directory": directory, "modules": modules}
    (directory / "apache.conf").write_text(_CONFIG.format(lines=lines, certificate=certificate, **values))
    command = [program("apache2"), "-D", "FOREGROUND", "-f", str(directory / "apache.conf")]
    with running(command, directory / "apache.out", env={**os.environ, **another_user()}) as process:
        started(process, port, directory / "apache.out")
        yield port
