"""The check of a service that should run: whether its web process answers, and whether callers can still log in."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import plaster

from data_mover.config.callers import Caller, KnownCallers, load_callers
from data_mover.config.listening import local_address
from data_mover.config.settings import Settings
from data_mover.domain.errors import ConfigurationError
from data_mover.domain.findings import Finding, Lacking, find

WEB_TIMEOUT_SECONDS = 5
#: a caller whose last token ends within this time is reported
NOTICE = timedelta(days=14)


def check_service(ini: str, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield the findings on the web process, and on the tokens of each caller."""
    yield find("web", partial(_look_at_web, ini))
    if settings.callers is not None:
        yield from _check_tokens(settings.callers, now)


def _look_at_web(ini: str) -> str:
    """Ask the web process whether it answers; anything else that listens there is found out by its answer."""
    socket, url = local_address(plaster.get_settings(ini, "server:main"))
    where = f"unix:{socket}" if socket else url
    transport = httpx.HTTPTransport(uds=socket)
    try:
        with httpx.Client(transport=transport, timeout=WEB_TIMEOUT_SECONDS, trust_env=False) as client:
            response = client.get(f"{url}/health")
    except (httpx.HTTPError, OSError) as error:
        raise Lacking(f"nothing answers at {where}: {error}\nStart the web process: pserve {ini}") from error
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise Lacking(f"{where} answers that its database is away, and not what this check finds; see its log")
    if not response.is_success or "status" not in response.text:
        raise Lacking(
            f"{where} answers HTTP {response.status_code}, as another program would; see what listens there"
            " (ss -ltnp), or let `listen` name another port"
        )
    return f"{where} answers"


def _check_tokens(path: Path, now: datetime) -> Iterator[Finding]:
    try:
        known = load_callers(path)
    except ConfigurationError:
        return  # check_configuration has reported it
    for caller in known.callers.values():
        yield find("token", partial(_look_at_tokens, caller, known, now))


def _look_at_tokens(caller: Caller, known: KnownCallers, now: datetime) -> str:
    ends = [
        token.expires or datetime.max.replace(tzinfo=UTC) for token in known.tokens if token.caller.name == caller.name
    ]
    last = max(ends, default=now)
    if last < now + NOTICE:
        way_out = f"data_mover callers rotate {caller.name} makes a new one"
        raise Lacking(f"{caller.name}: its last token ends on {last.date()}; {way_out}")
    return f"{caller.name}: has a token that is valid for more than {NOTICE.days} days"
