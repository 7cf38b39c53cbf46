"""The web application: the page, the health check, and the access rule for requests of this machine."""

from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request

from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.fault_points import open_to_orders
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.services.access import LOCAL, Caller
from data_mover.services.explanations import Explanations
from data_mover.services.host_control import HostControl
from data_mover.services.moves import Moves
from data_mover.services.plans import Plans
from data_mover.services.queries import Queries
from data_mover.services.readiness import Readiness
from data_mover.store import migrations
from data_mover.store.database import Database


def includeme(config: Configurator) -> None:
    settings: Settings = config.registry.data_mover_settings
    settings.make_state_dir()
    if settings.fault_points:
        open_to_orders()
    database = Database(settings.database_url())
    migrations.require_newest(database.engine)
    registry = RegistryFile(settings.registry, settings.open_web, settings.open_web_denied)
    doorbell = Doorbell(redis_connection(settings.redis_url, settings.redis_secret()))
    queries = Queries(database, registry, doorbell)
    moves = Moves(settings, database, registry, doorbell, queries)
    use_cases = {
        "moves": moves,
        "plans": Plans(database, doorbell, moves),
        "queries": queries,
        "explanations": Explanations(settings, database, registry, doorbell),
        "readiness": Readiness(database, doorbell),
        "host_control": HostControl(database, registry, doorbell),
    }
    for name, use_case in use_cases.items():
        config.add_request_method(partial(_use_case, use_case), name, property=True)
    config.add_request_method(_caller, "caller", reify=True)
    config.add_tween("data_mover.web.access.access_tween")
    config.add_settings({"jinja2.finalize": "data_mover.web.ui.pages.shown"})
    config.include("pyramid_jinja2")
    config.add_jinja2_renderer(".html")
    config.include("data_mover.web.ui.pages")


def _use_case(use_case: Any, request: Request) -> Any:
    return use_case


def _caller(request: Request) -> Caller:
    return LOCAL
