"""The callers of a service, and how they ask it."""

import base64
import json
from datetime import date, timedelta
from hashlib import sha256
from http.client import HTTPConnection

from tests.servers.processes import eventually

TOKENS = {
    name: f"dm_{name}_{name * 8:.40}" for name in ("portal", "writer", "nobody", "reader", "boss", "short", "far")
}


def digest(name):
    return sha256(TOKENS[name].encode()).hexdigest()


CALLERS = f"""
[callers.portal]
token_sha256 = ["{digest("portal")}"]
sources      = ["slow:/species/", "archive:/species/", "archive:/one.csv", "type:layers", "site:/public/"]
destinations = ["vis:/maps/"]

[callers.writer]
token_sha256 = ["{digest("writer")}"]
sources      = ["archive:/species/"]
destinations = [{{ at = "vis:/drop/", may = ["create"] }}, {{ at = "vis:/maps/", may = ["create", "replace"] }}]

[callers.reader]
token_sha256 = ["{digest("reader")}"]
verbs        = ["check"]

[callers.boss]
token_sha256 = ["{digest("boss")}"]
verbs        = ["move", "plan", "check", "cancel", "retry", "operate"]
sources      = ["*"]
destinations = ["*"]

[callers.short]
token_sha256 = [
    {{ sha256 = "{digest("short")}", expires = {date.today() - timedelta(days=1)} }},
    {{ sha256 = "{digest("far")}", networks = ["192.0.2.0/24"] }},
]
sources      = ["*"]
destinations = ["*"]
"""

DATASETS = """
[datasets.layers]
source = { host = "archive", path = "/layers/{id}.tif" }

[datasets.hidden]
source = { host = "secret", path = "/{id}" }
"""


def write(path, text):
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_text(text)
    new.rename(path)


def basic(name, token):
    return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()


def ask(world, method, path, *, token=None, authorization=None, body=None):
    """The status and the headers of an answer, and its JSON if it has any."""
    headers = {"Authorization": authorization or f"Bearer {token}"} if token or authorization else {}
    connection = HTTPConnection("127.0.0.1", world.service.port, timeout=30)
    if method != "GET":
        headers["Content-Type"] = "application/json"
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return (
        response.status,
        response.headers,
        json.loads(content) if "json" in response.headers["Content-Type"] else None,
    )


def ended(world, proxy, job_id):
    reported = {}

    def has_ended():
        reported.update(proxy.check(job_id))
        return reported["status"] in ("COMPLETED", "FAILED", "CANCELLED")

    eventually(has_ended, f"job {job_id} has ended")
    return reported
