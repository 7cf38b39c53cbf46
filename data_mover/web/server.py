"""`use = egg:data_mover#server`: waitress with limits that a public port needs."""

import logging
import os
import resource
from collections.abc import Callable
from typing import Any

import waitress

from data_mover.config.listening import who_may_call
from data_mover.domain.problems import ending_the_process

log = logging.getLogger(__name__)

#: what this process makes, the socket among it, is its user's alone
PRIVATE_UMASK = 0o077

#: XML-RPC calls are small; pages send nothing
LIMITS = {
    "max_request_body_size": 256 * 1024,
    "connection_limit": 1000,
    "channel_timeout": 20,
    "threads": 8,
    "max_request_header_size": 16 * 1024,
    "inbuf_overflow": 32 * 1024,  # in memory; a larger body waits in a temporary file
    "asyncore_use_poll": True,  # select ends the process at the 1024th file
    "ident": "data_mover",
    "clear_untrusted_proxy_headers": False,
}


def server_factory(global_config: dict[str, str], **settings: Any) -> Callable[[Any], None]:
    """PasteDeploy's server factory: return what serves an application, forever. Whatever waitress knows can be set
    beside `listen` or `unix_socket`, the limits included. Ends the process if others than this machine could
    connect."""
    with ending_the_process():
        sentence = who_may_call(settings, global_config.get("__file__", "[server:main]"))
    limits = {**LIMITS, **settings}
    described = {"data_mover.threads": int(limits["threads"]), "data_mover.unix_socket": "unix_socket" in settings}

    def serve_forever(app: Any) -> None:
        log.info("serving %s", sentence)
        _allow_open_files()
        os.umask(PRIVATE_UMASK)
        waitress.serve(_describing_itself(app, described), **limits)

    return serve_forever


def _describing_itself(app: Any, described: dict[str, Any]) -> Any:
    """Return the application, with what each request is to know of the server."""

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        environ.update(described)
        return app(environ, start_response)

    return serve


def _allow_open_files() -> None:
    """As many as the system lets this process have: the usual 1024 are used up by the connections alone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
