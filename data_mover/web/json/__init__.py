"""The same use cases in JSON: `/api/v1`, as `openapi.json` describes it.

`guard` passes only requests that may be read · `requests` turns bodies and queries into values · `views` are the calls
· `answers` turns values into JSON · `problems` turns refusals and errors into problem details.
"""

from pyramid.config import Configurator

from data_mover.domain.errors import Refusal
from data_mover.web.json.problems import refused, wrong_method
from data_mover.web.json.views import ROUTES


def includeme(config: Configurator) -> None:
    config.add_tween("data_mover.web.json.guard.guard_tween")
    for name, (path, views) in ROUTES.items():
        config.add_route(name, f"/api/v1{path}")
        for method, (view, verb) in views.items():
            config.add_view(view, route_name=name, request_method=method, permission=verb)
        config.add_view(wrong_method(tuple(views)), route_name=name)
        config.add_view(refused, route_name=name, context=Refusal)
