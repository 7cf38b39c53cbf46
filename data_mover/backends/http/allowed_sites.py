"""Which URLs may be read: those of registered sites, and all public ones if the operator has opened the web."""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from data_mover.domain.urls import Url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Number = ipaddress.IPv4Address | ipaddress.IPv6Address

#: through it an IPv6 network reaches IPv4 addresses, which are its last 32 bits (RFC 6052)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: all addresses that are assigned for global unicast (RFC 4291)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: what Python, or an older release of it, takes for global: Azure's internal services, protocols of the IETF with
#: Oracle's metadata among them, relays of 6to4, and documentation
_RESERVED = tuple(map(ipaddress.ip_network, ("168.63.129.16", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))


class Site(Protocol):
    """A registered web server, and the directory on it that may be read."""

    @property
    def origin(self) -> str: ...

    @property
    def root(self) -> str: ...

    @property
    def ca_file(self) -> Path | None: ...


@dataclass(frozen=True)
class Part:
    """A part of a site, to which a caller's rights are limited."""

    origin: str
    root: str
    ca_file: Path | None = None


@dataclass(frozen=True)
class Web:
    """The sites by the names of their hosts, and whether the rest of the public web may be read."""

    sites: Mapping[str, Site] = field(default_factory=dict)
    is_open: bool = False
    #: networks from which only registered servers are read
    denied: Sequence[Network] = ()
    #: the parts of sites that may be read; None if that is all of them
    parts: Sequence[Part] | None = None

    def may_read(self, url: Url) -> bool:
        """Whether a URL of a registered site may be read."""
        return self.parts is None or any(contains(part, url) for part in self.parts)

    def site_of(self, url: Url) -> Site | None:
        """Return the site that contains the URL, if there is one."""
        host = self.host_of(url)
        return self.sites[host] if host is not None else None

    def host_of(self, url: Url) -> str | None:
        """Return the host of the site that contains the URL, the one with the longest root if there are several."""
        found = [name for name, site in self.sites.items() if contains(site, url)]
        return max(found, key=lambda name: len(self.sites[name].root), default=None)


def contains(site: Site, url: Url) -> bool:
    """Whether the URL is at or below the root of the site."""
    inside = site.root == "/" or f"{unquote(url.path)}/".startswith(f"{site.root}/")
    return inside and url.origin == site.origin


def path_within(site: Site, url: Url) -> str:
    """Return the literal path of a URL of the site, as seen below its root."""
    return unquote(url.path).removeprefix(site.root.rstrip("/")) or "/"


def url_below(site: Site, path: str) -> Url:
    """Return the URL of a literal path below the site's root."""
    return Url.parse(f"{site.origin}{quote(site.root.rstrip('/') + path)}")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet and not to this machine, in any spelling and through any
    tunnel."""
    number, led_to = _number(address), _led_to(address)
    if isinstance(led_to, ipaddress.IPv6Address) and led_to not in _GLOBAL_UNICAST:
        return False
    return _is_global(led_to) and not _is_own(number) and not _is_own(led_to)


def is_denied(address: str, denied: Sequence[Network]) -> bool:
    """Whether an IP address belongs to one of the networks, in any spelling and through any tunnel."""
    return any(number in network for number in (_number(address), _led_to(address)) for network in denied)


def _number(address: str) -> _Number:
    return ipaddress.ip_address(address.partition("%")[0])


def _led_to(address: str) -> _Number:
    """Return the IPv4 address that an IPv6 address embeds, or the address itself."""
    number = _number(address)
    if isinstance(number, ipaddress.IPv4Address):
        return number
    if number in _NAT64:
        return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
    return number.ipv4_mapped or number.sixtofour or number


def _is_own(number: _Number) -> bool:
    """Whether an interface of this machine has the address: only such an address can be bound."""
    family = socket.AF_INET if number.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind((str(number), 0))
    except OSError:
        return False
    return True


def _is_global(number: _Number) -> bool:
    return number.is_global and not number.is_multicast and not any(number in network for network in _RESERVED)
