"""Every caller on every verb, source and destination."""

from xmlrpc.client import Fault

import pytest

from tests.functional.callers.service import TOKENS, ask

VERBS = {
    "move": lambda proxy: proxy.move("archive:/species/1.csv", "vis:/maps/verb"),
    "plan": lambda proxy: proxy.plan("archive:/species/1.csv", "vis:/maps/verb"),
    "check": lambda proxy: proxy.check(999_999),
    "wait": lambda proxy: proxy.wait(999_999, 0),
    "check_many": lambda proxy: proxy.check_many([999_999]),
    "jobs": lambda proxy: proxy.jobs(),
    "files": lambda proxy: proxy.files(999_999),
    "events": lambda proxy: proxy.events(999_999),
    "explain": lambda proxy: proxy.explain(999_999),
    "cancel": lambda proxy: proxy.cancel(999_999),
    "retry": lambda proxy: proxy.retry(999_999),
    "hosts": lambda proxy: proxy.hosts(),
    "datasets": lambda proxy: proxy.datasets(),
}
READING = {"check", "wait", "check_many", "jobs", "files", "events", "explain"}
ALLOWED = {
    "portal": set(VERBS),
    "writer": set(VERBS),
    "boss": set(VERBS),
    "reader": READING | {"hosts", "datasets"},
}


@pytest.mark.parametrize("method", VERBS)
@pytest.mark.parametrize("name", ALLOWED)
def test_every_caller_has_its_verbs_and_no_other(proxy_of, name, method):
    with proxy_of(name) as proxy:
        if method in ALLOWED[name]:
            VERBS[method](proxy)
        else:
            with pytest.raises(Fault, match="is not among the verbs of reader") as refused:
                VERBS[method](proxy)
            assert refused.value.faultCode == -32003


SOURCES = {
    "archive:/species/1.csv": {"portal", "writer", "boss"},
    "archive:/species/": {"portal", "writer", "boss"},
    "archive:/species-old/x": {"boss"},
    "archive:/one.csv": {"portal", "boss"},
    "archive:/one.csv.old": {"boss"},
    "archive:/": {"boss"},
    "archive:/layers/7.tif": {"boss"},
    "layers:7": {"portal", "boss"},
    "hidden:x": {"boss"},
    "secret:/x": {"boss"},
    "vis:/maps/x": {"boss"},
    "http://127.0.0.1:9/public/x": {"portal", "boss"},
    "http://127.0.0.1:9/public-old": {"boss"},
    "http://127.0.0.1:9/": {"boss"},
}
DESTINATIONS = {
    "vis:/maps/": {"portal", "writer", "boss"},
    "vis:/maps/deep/er": {"portal", "writer", "boss"},
    "vis:/maps-old/": {"boss"},
    "vis:/drop/x": {"writer", "boss"},
    "vis:/": {"boss"},
    "archive:/species/": {"boss"},
    "secret:/": {"boss"},
}


@pytest.fixture(scope="module")
def paused(world):
    """What is accepted waits until the end."""
    for host in ("vis", "archive", "secret"):
        ask(world, "POST", f"/api/v1/hosts/{host}/pause", token=TOKENS["boss"])
    yield
    for host in ("vis", "archive", "secret"):
        ask(world, "POST", f"/api/v1/hosts/{host}/resume", token=TOKENS["boss"])


@pytest.mark.parametrize("name", ["portal", "writer", "boss"])
@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_caller_reaches_its_sources_and_destinations_and_no_other(paused, proxy_of, name, source, destination):
    with proxy_of(name) as proxy:
        accepted = proxy.move(source, destination)["status"] == "PENDING"

    assert accepted is (name in SOURCES[source] and name in DESTINATIONS[destination])
