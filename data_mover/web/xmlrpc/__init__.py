"""What programs call: XML-RPC at `POST /data_mover`.

`guard` passes only requests that may be parsed · `methods` are the calls · `requests` turns arguments into values ·
`answers` turns values into what XML-RPC can carry · `waiting` says how long a call may wait · `system` is `system.*`.
"""

import defusedxml.xmlrpc
from pyramid.config import Configurator

from data_mover.domain.errors import ServiceUnavailable
from data_mover.web.wait_slots import WaitSlots
from data_mover.web.xmlrpc.dispatch import ArgumentMapper, service_unavailable
from data_mover.web.xmlrpc.encoding import XmlRpcRenderer
from data_mover.web.xmlrpc.methods import METHODS
from data_mover.web.xmlrpc.system import SYSTEM_METHODS

ENDPOINT = "data_mover"


def includeme(config: Configurator) -> None:
    defusedxml.xmlrpc.monkey_patch()
    config.include("pyramid_rpc.xmlrpc")
    config.add_tween("data_mover.web.xmlrpc.guard.guard_tween")
    config.add_renderer("data_mover_xmlrpc", XmlRpcRenderer())
    config.add_xmlrpc_endpoint(
        ENDPOINT,
        "/data_mover{slash:/?}",
        default_mapper=ArgumentMapper,
        default_renderer="data_mover_xmlrpc",
    )
    config.add_view(service_unavailable, context=ServiceUnavailable, route_name=ENDPOINT, renderer="data_mover_xmlrpc")
    slots = WaitSlots()
    config.add_request_method(lambda request: slots, "wait_slots", property=True)
    for name, method in {**METHODS, **SYSTEM_METHODS}.items():
        config.add_xmlrpc_method(method, endpoint=ENDPOINT, method=name)
