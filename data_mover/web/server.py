"""`use = egg:data_mover#server`: waitress with limits that a public port needs."""

import logging
from typing import Any

import waitress

log = logging.getLogger(__name__)

#: XML-RPC calls are small; pages send nothing
LIMITS = {
    "max_request_body_size": 256 * 1024,
    "connection_limit": 1000,
    "channel_timeout": 20,
    "threads": 8,
    "ident": "data_mover",
    "clear_untrusted_proxy_headers": False,
}


def serve_forever(app: Any, global_config: dict[str, str], **settings: Any) -> None:
    """PasteDeploy's server runner. Whatever waitress knows can be set beside `listen`, the limits included."""
    log.info("serving %s", settings.get("listen", "on waitress' default port"))
    waitress.serve(app, **{**LIMITS, **settings})
