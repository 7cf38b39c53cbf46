"""Answers whose keys differ from the names of our values, for both APIs."""

from typing import Any

from data_mover.services.queries import HostDescription
from data_mover.store.events import EventReport


def event_struct(event: EventReport) -> dict[str, Any]:
    return {
        "number": event.number,
        "at": event.at,
        "event": event.event,
        "from": event.from_status,
        "to": event.to_status,
        "phase": event.to_phase,
        "attempt": event.attempt,
        "worker": event.worker,
        "code": event.code,
        "reason": event.reason,
        "files": event.files,
    }


def host_struct(host: HostDescription) -> dict[str, Any]:
    return {
        "name": host.name,
        "description": host.description,
        "protocol": host.protocol,
        "roles": host.roles,
        "health": host.health.state,
        "code": host.health.code,
        "reason": host.health.reason,
    }
