"""`use = egg:data_mover#server`: waitress with limits that a public port needs."""

import logging
import resource
from typing import Any

import waitress

log = logging.getLogger(__name__)

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


def serve_forever(app: Any, global_config: dict[str, str], **settings: Any) -> None:
    """PasteDeploy's server runner. Whatever waitress knows can be set beside `listen`, the limits included."""
    _allow_open_files()
    log.info("serving %s", settings.get("listen", "on waitress' default port"))
    limits = {**LIMITS, **settings}
    waitress.serve(_knowing_its_threads(app, int(limits["threads"])), **limits)


def _knowing_its_threads(app: Any, threads: int) -> Any:
    """The application; each request knows how many can be served at a time."""

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        environ["data_mover.threads"] = threads
        return app(environ, start_response)

    return serve


def _allow_open_files() -> None:
    """As many as the system lets this process have: the usual 1024 are used up by the connections alone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
