"""The registry: the hosts and data types that operators have named, and how endpoints are resolved."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self

from pydantic import BaseModel, ConfigDict, field_validator

from data_mover.backends.http.allowed_sites import Network, Part, Web, path_within
from data_mover.backends.http.options import HttpOptions, WebOptions
from data_mover.backends.options import HostOptions, Role
from data_mover.domain.errors import ConfigProblem, Refusal
from data_mover.domain.locations import (
    CatalogueItem,
    Endpoint,
    Location,
    Locations,
    in_list,
    invalid,
    parse_destination,
    parse_short_endpoint,
    parse_sources,
    quoted_for_url,
)
from data_mover.domain.rights import EVERY_HOST, EVERYTHING, Rights
from data_mover.domain.urls import Url

_BRACES = re.compile(r"\{\w*\}")
_MOST_NAMES_SHOWN = 20
#: the host of files on web servers that the registry does not name; no registered host can have this name
OPEN_WEB = "(web)"
#: why a host or a data type is refused; only the operator sees the problem itself
PROBLEM_IN_REGISTRY = "what the registry says of it has a problem"
#: why the jobs of a host wait that has left the registry
MISSED_IN_REGISTRY = "it has just left the registry"


_Written = str | dict[str, str]


class Dataset(BaseModel):
    """A data type: source and destination of the item with a given id. `{id}` stands for the id in both."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    #: for people
    description: str = ""
    #: whatever `move` takes as one: a URL, or `{ host = "disk", path = "/species/{id}.csv" }`, of a file or a
    #: folder; or a list of these. `{id}` stands for the id, which is escaped in a URL; other names in braces are
    #: refused
    source: _Written | list[_Written]
    #: where its items go if the caller does not say it: `"visualizer:/species/"`, a URL, or `{ host =
    #: "visualizer", path = "/species/" }`; `{id}` stands for the id here, too. Of a list it must end with a slash.
    #: Without it they go to `data_mover.default_destination`
    destination: _Written | None = None
    #: the ids that there can be, as a regular expression for the whole id
    id_pattern: re.Pattern[str] = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

    @field_validator("source", "destination")
    @classmethod
    def _holds_only_the_id(cls, written: _Written | list[_Written] | None) -> _Written | list[_Written] | None:
        others = [name for text in _texts(written) for name in _BRACES.findall(text) if name != "{id}"]
        if others:
            raise ValueError(f"{others[0]} stands for nothing; the id is written {{id}}")
        return written

    def locations(self, item_id: str) -> Locations:
        """Return the locations of the item, one or several. Raises Refusal if the source is invalid."""
        if isinstance(self.source, list):
            return parse_sources([_with_id(each, item_id) for each in self.source])
        return parse_sources(_with_id(self.source, item_id))

    def endpoint(self, item_id: str) -> Endpoint | None:
        """Return the destination of the item, if its type has one. Raises Refusal if it is invalid."""
        if self.destination is None:
            return None
        written = _with_id(self.destination, item_id)
        return parse_short_endpoint(written, "destination") if isinstance(written, str) else parse_destination(written)


def _texts(written: _Written | list[_Written] | None) -> Iterator[str]:
    for each in written if isinstance(written, list) else [written]:
        if each is not None:
            yield from [each] if isinstance(each, str) else each.values()


def _with_id(written: _Written, item_id: str) -> _Written:
    """Insert the id: escaped in a URL, literal in a path."""
    in_url = quoted_for_url(item_id)
    if isinstance(written, str):
        return written.replace("{id}", in_url if "://" in written else item_id)
    return {key: value.replace("{id}", in_url if key == "url" else item_id) for key, value in written.items()}


@dataclass(frozen=True)
class Registry:
    """Named hosts and data types, all of them valid; and the names of refused ones, with their problems."""

    hosts: Mapping[str, HostOptions]
    datasets: Mapping[str, Dataset]
    #: how web servers that are not named are read, if they may be
    open_web: HostOptions | None = None
    refused_hosts: frozenset[str] = frozenset()
    refused_datasets: frozenset[str] = frozenset()
    #: the hosts that were there a minute ago: their jobs wait, for the file may be damaged
    missed_hosts: frozenset[str] = frozenset()
    problems: tuple[ConfigProblem, ...] = ()
    #: of the caller who sees this registry
    rights: Rights = EVERYTHING

    def seen_with(self, rights: Rights) -> Self:
        """Return the registry as a caller with these rights sees it: what may not be used does not exist."""
        return replace(
            self,
            datasets={name: dataset for name, dataset in self.datasets.items() if rights.may_use_type(name)},
            refused_hosts=frozenset(filter(rights.sees, self.refused_hosts)),
            refused_datasets=frozenset(filter(rights.may_use_type, self.refused_datasets)),
            rights=rights,
        )

    @property
    def seen_hosts(self) -> Mapping[str, HostOptions]:
        """The named hosts with which the caller may do anything."""
        return {name: options for name, options in self.hosts.items() if self.rights.sees(name)}

    def granted_by_types(self, sources: Locations) -> frozenset[Endpoint]:
        """Return what the caller's data types lead to now, of these sources."""
        granted = set[Endpoint]()
        for source in sources:
            if isinstance(source, CatalogueItem) and source.type in self.datasets:
                with suppress(Refusal):
                    granted.update(self._resolve_source(source))
        return frozenset(granted)

    def may_read(self, endpoint: Endpoint) -> bool:
        """Whether the caller may read there, whatever the path leads to."""
        if endpoint.host == OPEN_WEB:
            return self.rights.web
        return self.rights.may_read(endpoint.host, self._path_below_root(endpoint))

    def confined_to(self, granted: Iterable[Endpoint]) -> Self:
        """Return the registry with redirects that lead only to what the caller may read, or has been granted."""
        if self.rights == EVERYTHING:
            return self
        parts, leads_to_the_web = [], self.rights.web
        for endpoint in granted:
            if endpoint.host == OPEN_WEB:
                leads_to_the_web = True
            elif isinstance(options := self.hosts.get(endpoint.host), HttpOptions):
                parts.append(Part(options.origin, f"{options.root.rstrip('/')}{self._path_below_root(endpoint)}"))
        for prefix in self.rights.sources:
            for name, options in self.hosts.items():
                if isinstance(options, HttpOptions) and prefix.host in (EVERY_HOST, name):
                    parts.append(Part(options.origin, f"{options.root.rstrip('/')}{prefix.path}".rstrip("/") or "/"))

        def confined(options: HostOptions) -> HostOptions:
            if not isinstance(options, WebOptions):
                return options
            web = options.web
            return options.within(replace(web, is_open=web.is_open and leads_to_the_web, parts=tuple(parts)))

        return replace(
            self,
            hosts={name: confined(options) for name, options in self.hosts.items()},
            open_web=confined(self.open_web) if self.open_web and leads_to_the_web else None,
        )

    def _path_below_root(self, endpoint: Endpoint) -> str:
        """Return the path of a file as rights name it: of a URL, what is below the root of its site."""
        options = self.hosts.get(endpoint.host)
        if isinstance(options, HttpOptions) and "://" in endpoint.path:
            return path_within(options, Url.parse(endpoint.path))
        return endpoint.path

    @property
    def every_host(self) -> Mapping[str, HostOptions]:
        """All hosts of resolved endpoints: the named hosts, and the web if it is open."""
        return {**self.hosts, OPEN_WEB: self.open_web} if self.open_web else self.hosts

    @property
    def slots(self) -> Mapping[str, int]:
        """The number of jobs that may run with each host."""
        return {name: options.max_transfers for name, options in self.every_host.items()}

    def resolve_sources(self, sources: Locations) -> tuple[Endpoint, ...]:
        """Return the hosts and paths of the sources. Raises Refusal, naming the field."""
        if len(sources) == 1:
            return tuple(self._resolve_source(sources[0]))
        endpoints = []
        for number, source in enumerate(sources):
            with in_list(number):
                endpoints += self._resolve_source(source)
        return tuple(endpoints)

    def default_destination(self, sources: Locations) -> Endpoint | None:
        """Return the registry's destination for an item of the catalogue. Raises Refusal, naming the field."""
        if len(sources) == 1 and isinstance(item := sources[0], CatalogueItem):
            return self._dataset(item).endpoint(item.id)
        return None

    def resolve_destination(self, destination: Endpoint) -> Endpoint:
        """Return the destination, if its host has that role. Raises Refusal, naming the field."""
        return self._with_role(destination, "destination")

    def _resolve_source(self, source: Location) -> list[Endpoint]:
        if isinstance(source, CatalogueItem):  # grants what it leads to
            return [
                endpoint
                for location in self._catalogued(source)
                for endpoint in replace(self, rights=EVERYTHING)._resolve_source(location)
            ]
        return [self._on_the_web(source) if isinstance(source, Url) else self._with_role(source, "source")]

    def _on_the_web(self, url: Url) -> Endpoint:
        web = web_of(self.hosts)
        host = web.host_of(url) or (OPEN_WEB if self.open_web else None)
        if host is not None and not self.may_read(Endpoint(host, url.full)):
            host = None
        if host is None:
            way_out = "name it in the registry, with a root above the file, or set data_mover.open_web"
            if self.rights != EVERYTHING:
                raise Refusal(f"Unknown source '{url.origin}'", code="unknown-source", field="source.url")
            if roots := [site.root for site in web.sites.values() if site.origin == url.origin]:
                way_out = f"the registry names it for what is below {' or '.join(roots)} alone"
            raise Refusal(f"Unknown source '{url.origin}': {way_out}", code="unknown-source", field="source.url")
        return Endpoint(host, url.full)

    def _catalogued(self, item: CatalogueItem) -> list[Endpoint | Url]:
        locations = self._dataset(item).locations(item.id)
        if any(isinstance(location, CatalogueItem) for location in locations):
            raise invalid("source.type", f"'{item.type}' leads to another data type; correct the registry")
        return [location for location in locations if not isinstance(location, CatalogueItem)]

    def _dataset(self, item: CatalogueItem) -> Dataset:
        """Return the data type. Raises Refusal if there is no such type, or the id is invalid."""
        dataset = self.datasets.get(item.type)
        if item.type in self.refused_datasets:
            raise _refused(f"The data type '{item.type}'", "unknown-type", "source.type")
        if dataset is None:
            raise _unknown("source type", item.type, self.datasets, code="unknown-type", field="source.type")
        if not dataset.id_pattern.fullmatch(item.id):
            raise invalid("source.id", f"an id of '{item.type}' must match {dataset.id_pattern.pattern}")
        return dataset

    def _with_role(self, endpoint: Endpoint, role: Role) -> Endpoint:
        options = self.hosts.get(endpoint.host)
        if endpoint.host in self.refused_hosts:
            raise _refused(f"The host '{endpoint.host}'", f"unknown-{role}", f"{role}.host")
        if options is None or not self._may_use(endpoint, role):
            raise _unknown(role, endpoint.host, self._known(role), code=f"unknown-{role}", field=f"{role}.host")
        if role not in options.roles:
            raise invalid(f"{role}.host", f"the registry does not allow '{endpoint.host}' as a {role}")
        return endpoint

    def _may_use(self, endpoint: Endpoint, role: Role) -> bool:
        return self.may_read(endpoint) if role == "source" else self.rights.may_create(endpoint.host, endpoint.path)

    def _known(self, role: Role) -> list[str]:
        """Return what the caller may name: all hosts of the role, or the prefixes of its rights among them."""
        hosts = [name for name, options in self.hosts.items() if role in options.roles]
        prefixes = self.rights.sources if role == "source" else self.rights.creates
        if any(prefix.host == EVERY_HOST for prefix in prefixes):
            return hosts
        return [str(prefix) for prefix in prefixes if prefix.host in hosts]


def _refused(name: str, code: str, field: str) -> Refusal:
    """Return the refusal of an entry with a problem, which only the operator sees."""
    return Refusal(
        f"{name} cannot be used: {PROBLEM_IN_REGISTRY}; whoever runs the service finds it with "
        "`data_mover check-config`",
        code=code,
        field=field,
    )


def _unknown(kind: str, name: str, known: Collection[str], *, code: str, field: str) -> Refusal:
    """Return the refusal of a name, with the known ones; `hosts` and `datasets` describe them."""
    names = [*islice(known, _MOST_NAMES_SHOWN), *(["…"] if len(known) > _MOST_NAMES_SHOWN else [])]
    return Refusal(f"Unknown {kind} '{name}'; known: {', '.join(names) or 'none'}", code=code, field=field)


def web_of(hosts: Mapping[str, HostOptions], is_open: bool = False, denied: Sequence[Network] = ()) -> Web:
    return Web({name: host for name, host in hosts.items() if isinstance(host, HttpOptions)}, is_open, denied)
