"""The pages for browsers, rendered by the server; a script renews what has changed.

`moves` are the pages · `filter_box` turns the text of the filter box into a filter · `display` has the forms in which
values are shown · `watching` answers browsers that watch a page · `headers` says what a browser may load.
"""

import hashlib
from importlib.resources import files as resources

from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.static import QueryStringConstantCacheBuster

from data_mover.domain.errors import Refusal
from data_mover.domain.rights import Verb
from data_mover.web.ui import moves
from data_mover.web.ui.display import FILTERS, shown
from data_mover.web.ui.problems import not_found, refused
from data_mover.web.ui.watching import Watchers, watched

#: how long a browser keeps what is in `static`; a new version has another URL
STATIC_SECONDS = 31_536_000
_STATIC = "data_mover.web.ui:static/"

#: the pages that browsers watch: by name of the route its path, view, template, and the verb that its reader needs
PAGES = {
    "home": ("/", moves.list_moves, "moves", Verb.CHECK),
    "move": ("/moves/{id}", moves.show_move, "move", Verb.CHECK),
}

#: the links at the top of every page: path, text, and the routes that they stand for
NAVIGATION = (("/", "Moves", ("home", "move")),)


def includeme(config: Configurator) -> None:
    config.add_settings({"jinja2.trim_blocks": "true", "jinja2.lstrip_blocks": "true"})
    config.add_settings({"jinja2.finalize": shown, "jinja2.filters": FILTERS})
    config.include("pyramid_jinja2")
    config.add_jinja2_renderer(".html")
    config.add_tween("data_mover.web.ui.headers.headers_tween")
    config.add_static_view("static", _STATIC, cache_max_age=STATIC_SECONDS)
    config.add_cache_buster(_STATIC, QueryStringConstantCacheBuster(_version()))
    config.add_subscriber(_add_navigation, BeforeRender)
    watchers = Watchers()
    config.add_request_method(lambda request: watchers, "watchers", property=True)
    for name, (path, view, template, verb) in PAGES.items():
        config.add_route(name, path)
        renderer = f"templates/{template}.html"
        config.add_view(
            view, route_name=name, request_method="GET", renderer=renderer, permission=verb, decorator=watched
        )
        config.add_view(refused, route_name=name, context=Refusal, renderer="templates/problem.html")
    config.add_notfound_view(not_found, renderer="templates/problem.html")


def _add_navigation(event: BeforeRender) -> None:
    event["navigation"] = NAVIGATION


def _version() -> str:
    """Return a text that changes with the static files."""
    files = sorted((resources(__package__) / "static").iterdir(), key=lambda each: each.name)
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()[:12]
