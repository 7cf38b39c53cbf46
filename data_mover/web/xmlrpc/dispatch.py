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
from data_mover.domain.rights import Verb

log = logging.getLogger(__name__)

TOO_MANY_ARGUMENTS = -32602
NOT_AUTHENTICATED = -32001
NOT_ALLOWED = -32003
SERVICE_UNAVAILABLE = -32010
TOO_MANY_REQUESTS = -32029

View = Callable[..., Any]


@dataclass(frozen=True)
class Method:
    """A method of the service: its help is the view's docstring."""

    view: View
    #: for each, the type of the answer and the types of the arguments
    signatures: tuple[tuple[str, ...], ...]
    #: what its caller must be allowed to do, None if every caller may call it
    verb: Verb | None = None

    @property
    def help(self) -> str:
        return inspect.cleandoc(self.view.__doc__ or "")

    def __call__(self, request: Request, *arguments: Any) -> Any:
        """Call the method; return its answer, which may be a refusal. Raises Fault or ServiceUnavailable.

        Views have a default for every argument, since a missing one is refused by name and is not a fault.
        """
        if self.verb is not None and not request.has_permission(self.verb):
            raise Fault(NOT_ALLOWED, f"not allowed; '{self.verb}' is not among the verbs of {request.caller.name}")
        try:
            bound = inspect.signature(self.view).bind(request, *arguments)
        except TypeError:
            raise Fault(TOO_MANY_ARGUMENTS, "server error; too many arguments") from None
        try:
            return self.view(*bound.args)
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
            return view(request, *request.rpc_args)

        return mapped


def service_unavailable(error: ServiceUnavailable, request: Request) -> Fault:
    """Return the fault while the database is unavailable, unlike the answer for a job that does not exist."""
    log.error("service-unavailable %s: %s", error, error.__cause__)
    return Fault(SERVICE_UNAVAILABLE, f"service unavailable; {error}, please ask again")
