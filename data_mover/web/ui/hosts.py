"""The pages of the registry: hosts with their health, which some may pause, and data types."""

from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request

from data_mover.domain.rights import Verb
from data_mover.store.host_health import HostActivity
from data_mover.web.ui.actions import back
from data_mover.web.ui.chart import chart_of
from data_mover.web.ui.notices import say_done


def list_hosts(request: Request) -> dict[str, Any]:
    """Return the hosts that the reader may use, each with what it does."""
    activity = request.queries.activity(request.caller)
    hosts = request.queries.hosts(request.caller)
    return {
        "hosts": [(host, activity.get(host.name, HostActivity())) for host in hosts],
        "chart": chart_of(request.history.throughput(request.caller)),
        "may_pause": request.caller.may(Verb.HOSTS),
        "sees_all": request.caller.may(Verb.SEE_ALL),
    }


def list_types(request: Request) -> dict[str, Any]:
    """Return the data types that the reader may use."""
    return {"datasets": request.queries.datasets(request.caller)}


def pause_host(request: Request) -> HTTPSeeOther:
    """Pause the host of the form. Raises Refusal for an unknown one."""
    name = request.POST.get("host", "")
    request.host_control.pause(request.caller, name)
    say_done(request, f"{name} is paused: its moves wait, running ones continue.")
    return back(request)


def resume_host(request: Request) -> HTTPSeeOther:
    """Resume the host of the form. Raises Refusal for an unknown one."""
    name = request.POST.get("host", "")
    request.host_control.resume(request.caller, name)
    say_done(request, f"{name} is resumed.")
    return back(request)
