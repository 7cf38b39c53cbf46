"""The web application: the pages, the health checks, and the access rule."""

import logging
import pyexpat
from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from data_mover.config.callers import callers_of
from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.fault_points import open_to_orders
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.services.bulk import Bulk
from data_mover.services.changes import Changes
from data_mover.services.explanations import Explanations
from data_mover.services.history import History
from data_mover.services.host_control import HostControl
from data_mover.services.moves import Moves
from data_mover.services.plans import Plans
from data_mover.services.queries import Queries
from data_mover.services.readiness import Readiness
from data_mover.services.token_uses import TokenUses
from data_mover.store import migrations
from data_mover.store.audit_trail import AuditTrail
from data_mover.store.database import Database
from data_mover.web.access import SecurityPolicy
from data_mover.web.rates import Rates
from data_mover.web.sessions import session_factory
from data_mover.web.transactions import RequestTransactions

log = logging.getLogger(__name__)

#: the parser of XML-RPC: before this version, a small request could cost it much memory (CVE-2025-59375)
PATCHED_EXPAT = (2, 7, 2)


def includeme(config: Configurator) -> None:
    settings: Settings = config.registry.data_mover_settings
    settings.make_state_dir()
    if settings.fault_points:
        open_to_orders()
    if pyexpat.version_info < PATCHED_EXPAT:
        log.warning(
            "old-expat %s: some of its problems are known; upgrade Python, or the libexpat of the system",
            ".".join(map(str, pyexpat.version_info)),
        )
    database = Database(settings.database_url())
    migrations.require_newest(database.engine)
    callers = callers_of(settings.callers)
    registry = RegistryFile(settings.registry, settings.open_web, settings.open_web_denied)
    doorbell = Doorbell(redis_connection(settings.redis_url, settings.redis_secret()))
    queries = Queries(database, registry, doorbell)
    explanations = Explanations(settings, database, registry, callers, doorbell)
    readiness = Readiness(database, doorbell)
    history = History(database)
    bulk = Bulk(database)
    changes = Changes(database, registry, readiness)
    use_cases: dict[str, Callable[[Request], Any]] = {
        "queries": lambda request: queries,
        "explanations": lambda request: explanations,
        "readiness": lambda request: readiness,
        "changes": lambda request: changes,
        "history": lambda request: history,
        "bulk": lambda request: bulk,
        "transactions": lambda request: RequestTransactions(database, doorbell, request.tm),
        "moves": lambda request: Moves(settings, request.transactions, registry, callers, queries, request.audit),
        "plans": lambda request: Plans(request.transactions, request.moves),
        "host_control": lambda request: HostControl(request.transactions, registry, request.audit),
    }
    for name, use_case in use_cases.items():
        config.add_request_method(use_case, name, reify=True)
    config.add_settings({"tm.manager_hook": "pyramid_tm.explicit_manager", "tm.annotate_user": "false"})
    config.include("pyramid_tm")
    rates = Rates()
    config.add_request_method(lambda request: rates, "rates", property=True)
    policy = config.registry.data_mover_security_policy = SecurityPolicy(
        callers, TokenUses(database), AuditTrail(settings.audit_path)
    )
    config.set_security_policy(policy)
    config.set_session_factory(session_factory(settings.state_dir))
    config.add_request_method(policy.identity, "caller", reify=True)
    config.add_request_method(policy.audit, "audit", reify=True)
    config.add_tween("data_mover.web.access.access_tween")
    config.include("data_mover.web.health")
    config.include("data_mover.web.ui")
