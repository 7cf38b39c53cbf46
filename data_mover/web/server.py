"""`use = egg:data_mover#server`: waitress with limits that a public port needs."""

import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waitress.server import BaseWSGIServer, create_server

from data_mover.config.listening import Bounds, who_may_call
from data_mover.config.settings import Settings
from data_mover.domain.problems import ending_the_process
from data_mover.web.crowd import Crowd, TimedChannel

log = logging.getLogger(__name__)

#: files of this process, the socket among them, are accessible only for its user
PRIVATE_UMASK = 0o077

#: waitress accepts no connection at its own limit, which is therefore never reached
SPARE_CONNECTIONS = 100
#: XML-RPC calls are small; pages send nothing
LIMITS = {
    "max_request_body_size": 256 * 1024,
    "channel_timeout": 20,
    "threads": 8,
    "max_request_header_size": 16 * 1024,
    "inbuf_overflow": 32 * 1024,  # in memory; a larger body waits in a temporary file
    "asyncore_use_poll": True,  # select ends the process at the 1024th file
    "ident": "data_mover",
    "clear_untrusted_proxy_headers": False,
}


def server_factory(global_config: dict[str, str], **settings: Any) -> Callable[[Any], None]:
    """Return a function that serves an application forever: PasteDeploy's server factory. Every setting of waitress is
    allowed beside `listen` or `unix_socket`, the limits included. Ends the process if other machines could connect."""
    ini = global_config.get("__file__", "[server:main]")
    with ending_the_process():
        sentence = who_may_call(settings, ini, _callers(ini))
        bounds = Bounds.of(settings, ini)
    crowd = Crowd(bounds.connection_limit, bounds.most_of_an_address, bounds.request_seconds)
    others = {key: value for key, value in settings.items() if key not in Bounds.model_fields}
    limits = {**LIMITS, **others, "connection_limit": bounds.connection_limit + SPARE_CONNECTIONS}
    described = {"data_mover.threads": int(limits["threads"]), "data_mover.unix_socket": "unix_socket" in settings}

    def serve_forever(app: Any) -> None:
        log.info("serving %s", sentence)
        _allow_open_files()
        os.umask(PRIVATE_UMASK)
        present: dict[int, Any] = {}
        server = create_server(_describing_itself(app, described), map=present, **limits)
        for each in present.values():
            if isinstance(each, BaseWSGIServer):
                each.channel_class = type("Channel", (TimedChannel,), {"crowd": crowd})
        server.run()

    return serve_forever


def _callers(ini: str) -> Path | None:
    """Return the callers' file of the ini's application; None if it has none, or no file of settings is served."""
    return Settings.from_ini(ini).callers if Path(ini).is_file() else None


def _describing_itself(app: Any, described: dict[str, Any]) -> Any:
    """Return the application, which describes the server to each request."""

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        environ.update(described)
        return app(environ, start_response)

    return serve


def _allow_open_files() -> None:
    """Raise the limit of open files to the system's maximum: connections alone may use up the usual 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
