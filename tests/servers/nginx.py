"""A real nginx in front of a service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import LOOPBACK, free_port, program, running, started

CONFIGURATION = """
daemon off;
{user}
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {address}:{port}{tls};
        location / {{
            {location}
        }}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, location: str, user: str | None = None, certificate: Path | None = None) -> Iterator[int]:
    """The port of a proxy with these lines in its only location, whose workers run as the user. It speaks TLS if it has
    a certificate, which is in one file with its key."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration = directory / "nginx.conf"
    tls = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}" if certificate else ""
    values = {"directory": directory, "location": location, "address": LOOPBACK, "port": port, "tls": tls}
    configuration.write_text(CONFIGURATION.format(user=f"user {user};" if user else "", **values))
    command = [program("nginx"), "-p", str(directory), "-c", str(configuration), "-e", f"{directory}/nginx.log"]
    with running(command, directory / "nginx.out") as process:
        started(process, port, directory / "nginx.out")
        yield port
