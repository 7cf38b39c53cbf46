"""The registry: the hosts and data types that operators have named, read from TOML and read again when it changes."""

import logging
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from data_mover.backends import PROTOCOLS
from data_mover.backends.http.allowed_sites import Network, Web
from data_mover.backends.http.options import HttpOptions, WebOptions
from data_mover.backends.options import HostOptions, Role
from data_mover.domain.errors import ConfigProblem, ConfigurationError, Refusal
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
from data_mover.domain.problems import problems_of
from data_mover.domain.urls import Url

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SECTIONS = ("hosts", "datasets")
_SAMPLE_ID = "1"
_BRACES = re.compile(r"\{\w*\}")
_MOST_NAMES_TOLD = 20
#: the host of what is read from web servers that the registry does not name; no registered host can have this name
OPEN_WEB = "(web)"


_Written = str | dict[str, str]


class Dataset(BaseModel):
    """A data type: where the item with a given id is, and where it goes. `{id}` stands for the id in both."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    description: str = ""
    source: _Written | list[_Written]
    #: where its items go, unless the caller says it
    destination: _Written | None = None
    #: the ids that are taken, as a regular expression for the whole id
    id_pattern: re.Pattern[str] = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

    @field_validator("source", "destination")
    @classmethod
    def _holds_only_the_id(cls, written: _Written | list[_Written] | None) -> _Written | list[_Written] | None:
        others = [name for text in _texts(written) for name in _BRACES.findall(text) if name != "{id}"]
        if others:
            raise ValueError(f"{others[0]} stands for nothing; the id is written {{id}}")
        return written

    def locations(self, item_id: str) -> Locations:
        """Where the item is, in one location or in several. Raises Refusal if the source is not one."""
        if isinstance(self.source, list):
            return parse_sources([_with_id(each, item_id) for each in self.source])
        return parse_sources(_with_id(self.source, item_id))

    def endpoint(self, item_id: str) -> Endpoint | None:
        """Where the item goes, if its type says so. Raises Refusal if that is no destination."""
        if self.destination is None:
            return None
        written = _with_id(self.destination, item_id)
        return parse_short_endpoint(written, "destination") if isinstance(written, str) else parse_destination(written)


def _texts(written: _Written | list[_Written] | None) -> Iterator[str]:
    for each in written if isinstance(written, list) else [written]:
        if each is not None:
            yield from [each] if isinstance(each, str) else each.values()


def _with_id(written: _Written, item_id: str) -> _Written:
    """In a URL the id is escaped; in a path it stands as it is."""
    in_url = quoted_for_url(item_id)
    if isinstance(written, str):
        return written.replace("{id}", in_url if "://" in written else item_id)
    return {key: value.replace("{id}", in_url if key == "url" else item_id) for key, value in written.items()}


@dataclass(frozen=True)
class Registry:
    """Named hosts and data types, all of them valid."""

    hosts: Mapping[str, HostOptions]
    datasets: Mapping[str, Dataset]
    #: how web servers are read that are not named, if they may be
    open_web: HostOptions | None = None

    @property
    def every_host(self) -> Mapping[str, HostOptions]:
        """Whatever endpoints are resolved to: the named hosts, and the web if it is open."""
        return {**self.hosts, OPEN_WEB: self.open_web} if self.open_web else self.hosts

    def resolve_sources(self, sources: Locations) -> tuple[Endpoint, ...]:
        """The hosts and paths that the sources stand for. Raises Refusal, naming the field."""
        if len(sources) == 1:
            return tuple(self._resolve_source(sources[0]))
        endpoints = []
        for number, source in enumerate(sources):
            with in_list(number):
                endpoints += self._resolve_source(source)
        return tuple(endpoints)

    def default_destination(self, sources: Locations) -> Endpoint | None:
        """Where the registry says that an item of the catalogue goes. Raises Refusal, naming the field."""
        if len(sources) == 1 and isinstance(item := sources[0], CatalogueItem):
            return self._dataset(item).endpoint(item.id)
        return None

    def resolve_destination(self, destination: Endpoint) -> Endpoint:
        """The destination, if its host is one. Raises Refusal, naming the field."""
        return self._with_role(destination, "destination")

    def _resolve_source(self, source: Location) -> list[Endpoint]:
        locations = self._catalogued(source) if isinstance(source, CatalogueItem) else [source]
        return [
            self._on_the_web(location) if isinstance(location, Url) else self._with_role(location, "source")
            for location in locations
        ]

    def _on_the_web(self, url: Url) -> Endpoint:
        web = web_of(self.hosts)
        host = web.host_of(url) or (OPEN_WEB if self.open_web else None)
        if host is None:
            way_out = "name it in the registry, with a root that holds the file, or set data_mover.open_web"
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
        """Refusal where there is no such type, or no such id."""
        dataset = self.datasets.get(item.type)
        if dataset is None:
            raise _unknown("source type", item.type, self.datasets, code="unknown-type", field="source.type")
        if not dataset.id_pattern.fullmatch(item.id):
            raise invalid("source.id", f"an id of '{item.type}' must match {dataset.id_pattern.pattern}")
        return dataset

    def _with_role(self, endpoint: Endpoint, role: Role) -> Endpoint:
        options = self.hosts.get(endpoint.host)
        if options is None:
            known = [name for name, host in self.hosts.items() if role in host.roles]
            raise _unknown(role, endpoint.host, known, code=f"unknown-{role}", field=f"{role}.host")
        if role not in options.roles:
            raise invalid(f"{role}.host", f"the registry does not allow '{endpoint.host}' as a {role}")
        return endpoint


def _unknown(kind: str, name: str, known: Collection[str], *, code: str, field: str) -> Refusal:
    """The refusal of a name, with those that there are; `hosts` and `datasets` tell more of them."""
    names = [*islice(known, _MOST_NAMES_TOLD), *(["…"] if len(known) > _MOST_NAMES_TOLD else [])]
    return Refusal(f"Unknown {kind} '{name}'; known: {', '.join(names) or 'none'}", code=code, field=field)


@dataclass(frozen=True)
class HostEntry:
    """One host as the registry's file has it, with its problems: for whoever has to fix them."""

    name: str
    table: Mapping[str, Any]
    #: None where there are problems
    options: HostOptions | None
    problems: tuple[ConfigProblem, ...]


class RegistryFile:
    """The registry as it stands in its file, read again whenever the file changes."""

    def __init__(self, path: Path, open_web: bool, denied: Sequence[Network] = ()) -> None:
        """Raises ConfigurationError, listing every problem of the file."""
        self.path = path
        self._open_web = open_web
        self._denied = denied
        self._version = self._file_version()
        self._registry = load_registry(path, open_web, denied)

    def current(self) -> Registry:
        """The registry of the newest file that had no problems."""
        version = self._file_version()
        if version != self._version:
            self._version = version
            self._read_again()
        return self._registry

    def _read_again(self) -> None:
        try:
            self._registry = load_registry(self.path, self._open_web, self._denied)
        except ConfigurationError as error:
            log.error("registry-refused the old one stays in force: %s", error)
        else:
            log.info("registry-read %s", self.path)

    def _file_version(self) -> tuple[int, ...] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def load_registry(path: Path, open_web: bool, denied: Sequence[Network] = ()) -> Registry:
    """Raises ConfigurationError, listing every problem with its key. An open web may be read without being named, but
    for the networks that are denied."""
    document = _read_document(path)
    problems = [
        ConfigProblem(key, f"unknown key; known: {', '.join(_SECTIONS)}") for key in document.keys() - set(_SECTIONS)
    ]
    hosts = {
        name: host
        for name, table in _tables(document, "hosts", problems)
        if (host := _load_host(name, table, path.parent.resolve(), problems))
    }
    datasets = {
        name: dataset
        for name, table in _tables(document, "datasets", problems)
        if (dataset := _load_dataset(name, table, problems))
    }
    web = web_of(hosts, open_web, denied)
    hosts = {name: host.within(web) if isinstance(host, WebOptions) else host for name, host in hosts.items()}
    registry = Registry(hosts, datasets, WebOptions(protocol="https").within(web) if open_web else None)
    problems += _dataset_problems(registry, named_hosts={name for name, _ in _tables(document, "hosts", [])})
    if problems:
        raise ConfigurationError(str(path), problems)
    return registry


def web_of(hosts: Mapping[str, HostOptions], is_open: bool = False, denied: Sequence[Network] = ()) -> Web:
    return Web({name: host for name, host in hosts.items() if isinstance(host, HttpOptions)}, is_open, denied)


def host_entries(path: Path) -> list[HostEntry]:
    """The hosts as they stand in the file, each with its own problems. Raises ConfigurationError if it is not TOML."""
    return [_entry(name, table, path) for name, table in _tables(_read_document(path), "hosts", [])]


def _entry(name: str, table: dict[str, Any], path: Path) -> HostEntry:
    problems: list[ConfigProblem] = []
    options = _load_host(name, table, path.parent.resolve(), problems)
    return HostEntry(name, table, options, tuple(problems))


def _read_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(str(path), [ConfigProblem("file", f"cannot be read: {error.strerror}")]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [ConfigProblem("file", f"is not TOML: {error}")]) from error


def _tables(document: dict[str, Any], section: str, problems: list[ConfigProblem]) -> list[tuple[str, dict[str, Any]]]:
    """The named tables of a section; whatever else stands there becomes a problem."""
    content = document.get(section, {})
    if not isinstance(content, dict):
        problems.append(ConfigProblem(section, f"must hold tables like [{section}.name]"))
        return []
    tables = []
    for name, table in content.items():
        if not isinstance(table, dict):
            problems.append(ConfigProblem(f"{section}.{name}", f"must be a table: [{section}.{name}]"))
        elif not _NAME.fullmatch(name):
            problems.append(
                ConfigProblem(f"{section}.{name}", "a name has letters, digits, '.', '_' and '-', 63 at most")
            )
        else:
            tables.append((name, table))
    return tables


def _load_host(name: str, table: dict[str, Any], directory: Path, problems: list[ConfigProblem]) -> HostOptions | None:
    protocol = table.get("protocol")
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        problems.append(ConfigProblem(f"hosts.{name}.protocol", f"must be one of {', '.join(PROTOCOLS)}"))
        return None
    problem = PROTOCOLS[protocol].problem()
    if problem:
        problems.append(ConfigProblem(f"hosts.{name}.protocol", problem))
        return None
    try:
        return PROTOCOLS[protocol].options.model_validate(table, context={"directory": directory})
    except ValidationError as error:
        problems += problems_of(error, f"hosts.{name}")
        return None


def _load_dataset(name: str, table: dict[str, Any], problems: list[ConfigProblem]) -> Dataset | None:
    try:
        return Dataset.model_validate(table)
    except ValidationError as error:
        problems += problems_of(error, f"datasets.{name}")
        return None


def _dataset_problems(registry: Registry, named_hosts: Set[str]) -> list[ConfigProblem]:
    """Sources that are not endpoints of source hosts, and destinations that are none; a host with problems of its own
    is not blamed twice."""
    problems = []
    blameless = named_hosts - registry.hosts.keys()
    for name, dataset in registry.datasets.items():
        try:
            locations, endpoint = dataset.locations(_SAMPLE_ID), dataset.endpoint(_SAMPLE_ID)
            for location in locations:
                _require_known(registry, location, blameless)
            if endpoint and endpoint.host not in blameless:
                registry.resolve_destination(endpoint)
            if endpoint and len(locations) > 1 and not endpoint.path.endswith("/"):
                raise invalid("destination", "several sources need a directory; end the path with /")
        except Refusal as refusal:
            problems.append(ConfigProblem(f"datasets.{name}.{refusal.field.partition('.')[0]}", refusal.reason))
    return problems


def _require_known(registry: Registry, location: Location, blameless: Set[str]) -> None:
    if isinstance(location, CatalogueItem):
        raise invalid("source", "must be a host and path, or a URL")
    if not isinstance(location, Endpoint) or location.host not in blameless:
        registry.resolve_sources((location,))
