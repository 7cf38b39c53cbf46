"""Methods of the service, and how a call's arguments are passed to them."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xmlrpc.client import Fault

from pyramid.interfaces import IViewMapperFactory
from pyramid.request import Request
from zope.interface import provider

from data_mover.domain.errors import Refusal, ServiceUnavailable

log = logging.getLogger(__name__)

TOO_MANY_ARGUMENTS = -32602
SERVICE_UNAVAILABLE = -32010

View = Callable[..., Any]


@dataclass(frozen=True)
class Method:
    """A method of the service: its help is the view's docstring."""

    view: View
    #: for each, the type of the answer and the types of the arguments
    signatures: tuple[tuple[str, ...], ...]

    @property
    def help(self) -> str:
        return inspect.cleandoc(self.view.__doc__ or "")


def call(view: View, request: Request, arguments: tuple[Any, ...]) -> Any:
    """Call a method; return its answer, which may be a refusal. Raises Fault or ServiceUnavailable.

    Views have a default for every argument, since a missing one is refused by name and is not a fault.
    """
    try:
        bound = inspect.signature(view).bind(request, *arguments)
    except TypeError:
        raise Fault(TOO_MANY_ARGUMENTS, "server error; too many arguments") from None
    try:
        return view(*bound.args)
    except Refusal as refusal:
        return rejected(refusal)


def rejected(refusal: Refusal) -> dict[str, str]:
    """Return a refusal as an answer."""
    return {"status": "REJECTED", "reason": refusal.reason, "code": refusal.code, "field": refusal.field}


@provider(IViewMapperFactory)
class ArgumentMapper:
    """Passes only the arguments of the call to a view: pyramid_rpc's own mapper takes missing ones from the URL."""

    def __init__(self, **kw: Any) -> None:
        pass

    def __call__(self, view: View) -> Callable[[Any, Request], Any]:
        def mapped(context: Any, request: Request) -> Any:
            return call(view, request, request.rpc_args)

        return mapped


def service_unavailable(error: ServiceUnavailable, request: Request) -> Fault:
    """Return the fault while the database is unavailable, unlike the answer for a job that does not exist."""
    log.error("service-unavailable %s: %s", error, error.__cause__)
    return Fault(SERVICE_UNAVAILABLE, f"service unavailable; {error}, please ask again")
