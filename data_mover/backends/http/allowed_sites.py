"""What of the web may be read: the sites that the registry names, and what is public if the operator has opened it."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from data_mover.domain.urls import Url

#: by which an IPv6 network reaches IPv4 addresses, which stand in the last 32 bits (RFC 6052)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: all that has been given out for use between networks (RFC 4291)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: what Python, or an older release of it, takes for global: where Azure answers its machines, protocols of the IETF and
#: in their midst Oracle's metadata, relays of 6to4, and documentation
_RESERVED = tuple(map(ipaddress.ip_network, ("168.63.129.16", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))


class Site(Protocol):
    """A web server that the registry names, and the directory of it that may be read."""

    @property
    def origin(self) -> str: ...

    @property
    def root(self) -> str: ...

    @property
    def ca_file(self) -> Path | None: ...


@dataclass(frozen=True)
class Web:
    """The sites by the names of their hosts, and whether the rest of the web may be read where it is public."""

    sites: Mapping[str, Site] = field(default_factory=dict)
    is_open: bool = False

    def site_of(self, url: Url) -> Site | None:
        """The site of that host."""
        host = self.host_of(url)
        return self.sites[host] if host is not None else None

    def host_of(self, url: Url) -> str | None:
        """The host that the URL belongs to, the one with the longest root if there are several."""
        found = [name for name, site in self.sites.items() if holds(site, url)]
        return max(found, key=lambda name: len(self.sites[name].root), default=None)


def holds(site: Site, url: Url) -> bool:
    """Whether the URL is one of the site, at or below its root."""
    inside = site.root == "/" or f"{unquote(url.path)}/".startswith(f"{site.root}/")
    return inside and url.origin == site.origin


def url_below(site: Site, path: str) -> Url:
    """The URL of a path that stands for itself, below the site's root."""
    return Url.parse(f"{site.origin}{quote(site.root.rstrip('/') + path)}")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, through whichever of its spellings and tunnels."""
    number = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv4Address):
        return _is_global(number)
    if number.ipv4_mapped is not None:
        return _is_global(number.ipv4_mapped)
    if number in _NAT64:
        return _is_global(ipaddress.IPv4Address(int(number) & 0xFFFFFFFF))
    if number.sixtofour is not None:
        return _is_global(number.sixtofour)
    return number in _GLOBAL_UNICAST and _is_global(number)


def _is_global(number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return number.is_global and not number.is_multicast and not any(number in network for network in _RESERVED)
