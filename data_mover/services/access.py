"""Who may call: without a callers' file, only this machine."""

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

#: headers that a proxy adds; a request with one did not come from this machine, whatever its address is
FORWARDING_HEADERS = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_REAL_IP", "HTTP_VIA")


def is_from_this_machine(environ: Mapping[str, Any]) -> bool:
    """Whether a WSGI request came over a Unix socket, or over loopback for a loopback name, and through no proxy.

    The Host header is checked since a web page may make a browser on this machine send requests. Browsers always send
    it; programs that speak HTTP/1.0 may not.
    """
    if any(header in environ for header in FORWARDING_HEADERS):
        return False
    if environ.get("data_mover.unix_socket"):
        return True
    named = environ.get("HTTP_HOST")
    return _is_loopback(environ.get("REMOTE_ADDR")) and (named is None or _names_loopback(named))


def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False
