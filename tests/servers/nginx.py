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
        listen {address}:{port};
        location / {{
            {location}
        }}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, location: str, user: str | None = None) -> Iterator[int]:
    """The port of a proxy with these lines in its only location, whose workers run as the user."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration = directory / "nginx.conf"
    values = {"directory": directory, "location": location, "address": LOOPBACK, "port": port}
    configuration.write_text(CONFIGURATION.format(user=f"user {user};" if user else "", **values))
    command = [program("nginx"), "-p", str(directory), "-c", str(configuration), "-e", f"{directory}/nginx.log"]
    with running(command, directory / "nginx.out") as process:
        started(process, port, directory / "nginx.out")
        yield port
