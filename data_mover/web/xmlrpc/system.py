"""Introspection and batches, by the conventions of XML-RPC."""

import logging
from typing import Any
from xmlrpc.client import Fault

from pyramid.request import Request

from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.locations import missing
from data_mover.web.xmlrpc.dispatch import Method, service_unavailable
from data_mover.web.xmlrpc.methods import METHODS

log = logging.getLogger(__name__)

APPLICATION_ERROR = -32500
METHOD_NOT_FOUND = -32601
INVALID_PARAMETERS = -32602

MULTICALL = "system.multicall"
#: so many checks take one thread of the server about 0.2 s
MAX_CALLS = 100


def list_methods(request: Request) -> Any:
    """system.listMethods() lists the names of all methods."""
    return sorted({**METHODS, **SYSTEM_METHODS})


def method_signature(request: Request, name: Any = None) -> Any:
    """system.methodSignature(name) lists the ways to call a method: the answer's type, then the arguments' types."""
    return _named(name).signatures


def method_help(request: Request, name: Any = None) -> Any:
    """system.methodHelp(name) returns what a method does."""
    return _named(name).help


def multicall(request: Request, calls: Any = None) -> Any:
    """system.multicall([{'methodName': name, 'params': [...]}, ...]) answers [answer] or a fault struct for each call.

    Calls are independent: one that fails changes nothing for the others. A multicall cannot contain another.
    """
    if not isinstance(calls, list) or len(calls) > MAX_CALLS:
        raise Fault(INVALID_PARAMETERS, f"server error; multicall takes an array of at most {MAX_CALLS} calls")
    request.rates.count(request.caller, max(0, len(calls) - 1))  # the request itself was counted already
    return [_answer(request, each) for each in calls]


def _answer(request: Request, each: Any) -> Any:
    try:
        return [_call(request, each)]
    except Fault as fault:
        return _fault_struct(fault)
    except ServiceUnavailable as error:
        return _fault_struct(service_unavailable(error, request))
    except Exception:  # the answers of the calls before it must not be lost
        log.exception("multicall-broke")
        return _fault_struct(Fault(APPLICATION_ERROR, "application error"))


def _fault_struct(fault: Fault) -> dict[str, Any]:
    return {"faultCode": fault.faultCode, "faultString": fault.faultString}


def _call(request: Request, each: Any) -> Any:
    name, arguments = (each.get("methodName"), each.get("params", [])) if isinstance(each, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(arguments, list) or name == MULTICALL:
        raise Fault(INVALID_PARAMETERS, "server error; a call is a struct of methodName and params, and no multicall")
    return _method(name)(request, *arguments)


def _named(name: Any) -> Method:
    if not isinstance(name, str) or not name:
        raise missing("methodName")
    return _method(name)


def _method(name: str) -> Method:
    method = {**METHODS, **SYSTEM_METHODS}.get(name)
    if method is None:
        raise Fault(METHOD_NOT_FOUND, f"server error; method {name} not found")
    return method


SYSTEM_METHODS = {
    "system.listMethods": Method(list_methods, (("array",),)),
    "system.methodSignature": Method(method_signature, (("array", "string"),)),
    "system.methodHelp": Method(method_help, (("string", "string"),)),
    MULTICALL: Method(multicall, (("array", "array"),)),
}
