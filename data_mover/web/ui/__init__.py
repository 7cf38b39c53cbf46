"""The pages for browsers, rendered by the server; a script renews what has changed.

`moves`, `failures` and `hosts` are the pages, `new_move` is the form, `actions` are what people do to moves, `bulk`
what they do to all that match, `login` is how they come in · `filter_box` turns text into a filter · `display` and
`chart` have the forms in which values are shown, `notices` what a page says once · `watching` answers browsers that
watch a page · `guard` and `headers` say what a browser may send and load.
"""

import hashlib
from importlib.resources import files as resources

from pyramid.config import Configurator
from pyramid.events import BeforeRender
from pyramid.exceptions import BadCSRFToken
from pyramid.static import QueryStringConstantCacheBuster

from data_mover.domain.errors import Refusal
from data_mover.domain.rights import Verb
from data_mover.services.issuer_login import LoginFailed
from data_mover.web.access import LOGIN
from data_mover.web.ui import actions, bulk, failures, hosts, login, moves, new_move
from data_mover.web.ui.display import FILTERS, shown
from data_mover.web.ui.notices import taken
from data_mover.web.ui.problems import not_allowed, not_found, refused, too_old
from data_mover.web.ui.watching import Watchers, token_for, watched

#: how long a browser keeps what is in `static`; a new version has another URL
STATIC_SECONDS = 31_536_000
_STATIC = "data_mover.web.ui:static/"
_PROBLEM = "templates/problem.html"

#: what forms do: by name of the route its path, view, and the verb that its sender needs
FORMS = {
    "cancel": ("/moves/cancel", actions.cancel_moves, Verb.CANCEL),
    "retry": ("/moves/retry", actions.retry_moves, Verb.RETRY),
    "pause": ("/hosts/pause", hosts.pause_host, Verb.HOSTS),
    "resume": ("/hosts/resume", hosts.resume_host, Verb.HOSTS),
    "logout": ("/logout", login.log_out, None),
}
#: the pages that browsers watch: by name of the route its path, view, template, and the verb that its reader needs
PAGES = {
    "home": ("/", moves.list_moves, "moves", Verb.CHECK),
    "move": ("/moves/{id}", moves.show_move, "move", Verb.CHECK),
    "failures": ("/failures", failures.list_failures, "failures", Verb.CHECK),
    "hosts": ("/hosts", hosts.list_hosts, "hosts", None),
    "types": ("/types", hosts.list_types, "types", None),
}
#: the links at the top of every page: path, text, and the routes that they stand for
NAVIGATION = (
    ("/", "Moves", ("home", "move")),
    ("/failures", "Failures", ("failures",)),
    ("/hosts", "Hosts", ("hosts",)),
    ("/types", "Data types", ("types",)),
)


def includeme(config: Configurator) -> None:
    config.add_settings({"jinja2.trim_blocks": "true", "jinja2.lstrip_blocks": "true"})
    config.add_settings({"jinja2.finalize": shown, "jinja2.filters": FILTERS})
    config.include("pyramid_jinja2")
    config.add_jinja2_renderer(".html")
    config.add_tween("data_mover.web.ui.guard.guard_tween", under="data_mover.web.access.access_tween")
    config.add_tween("data_mover.web.ui.headers.headers_tween")
    config.add_static_view("static", _STATIC, cache_max_age=STATIC_SECONDS)
    config.add_cache_buster(_STATIC, QueryStringConstantCacheBuster(_version()))
    config.add_subscriber(_add_to_every_page, BeforeRender)
    watchers = Watchers()
    config.add_request_method(lambda request: watchers, "watchers", property=True)
    for name, (path, view, verb) in FORMS.items():
        config.add_route(name, path)
        _add_form(config, view, route_name=name, permission=verb)
    for name, (path, view, template, verb) in PAGES.items():
        config.add_route(name, path)
        of_page = {"route_name": name, "request_method": "GET", "permission": verb}
        config.add_view(view, renderer=f"templates/{template}.html", decorator=watched, **of_page)
    for name in ("cancel", "retry"):
        of_all = {"route_name": name, "request_param": "all", "permission": FORMS[name][2]}
        _add_form(config, bulk.act_on_all, renderer="templates/bulk.html", **of_all)
    _add_new_move(config)
    _add_login(config)
    for name in (*FORMS, *PAGES):
        config.add_view(refused, route_name=name, context=Refusal, renderer=_PROBLEM)
    config.add_exception_view(too_old, context=BadCSRFToken, renderer=_PROBLEM)
    config.add_forbidden_view(not_allowed, renderer=_PROBLEM)
    config.add_notfound_view(not_found, renderer=_PROBLEM)


def _add_new_move(config: Configurator) -> None:
    renderer = {"renderer": "templates/new.html"}
    config.add_route("new", "/new")
    config.add_route("submit", "/moves")
    config.add_view(new_move.show_form, route_name="new", request_method="GET", permission=Verb.MOVE, **renderer)
    _add_form(config, new_move.plan_move, route_name="new", permission=Verb.PLAN, **renderer)
    _add_form(config, new_move.submit_move, route_name="submit", permission=Verb.MOVE, **renderer)


def _add_login(config: Configurator) -> None:
    of_page = {"route_name": "login", "renderer": "templates/login.html"}
    config.add_route("login", LOGIN)
    config.add_view(login.show_login, request_method="GET", **of_page)
    _add_form(config, login.log_in, **of_page)
    at_issuer = {"login_begin": ("", login.begin_at_issuer), "login_callback": ("/callback", login.finish_at_issuer)}
    for name, (path, view) in at_issuer.items():
        config.add_route(name, f"{LOGIN}/{{issuer}}{path}")
        config.add_view(view, route_name=name, request_method="GET", http_cache=0)
        config.add_view(login.failed, context=LoginFailed, route_name=name, renderer=of_page["renderer"])


def _add_form(config: Configurator, view: object, **options: object) -> None:
    config.add_view(view, request_method="POST", require_csrf=True, **options)


def _add_to_every_page(event: BeforeRender) -> None:
    request = event["request"]
    event["navigation"] = NAVIGATION
    event["notices"] = taken(request)
    event["get_csrf_token"] = lambda: token_for(request)
    event["has_login"] = request.registry.data_mover_security_policy.has_login


def _version() -> str:
    """Return a text that changes with the static files."""
    files = sorted((resources(__package__) / "static").iterdir(), key=lambda each: each.name)
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()[:12]
