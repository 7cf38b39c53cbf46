"""The file of the registry: read from TOML, read again when it changes, and served without its invalid entries."""

import logging
import re
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_mover.backends import PROTOCOLS
from data_mover.backends.http.allowed_sites import Network
from data_mover.backends.http.options import WebOptions
from data_mover.backends.options import HostOptions
from data_mover.config.registry import Dataset, Registry, web_of
from data_mover.domain.errors import ConfigProblem, ConfigurationError, Refusal
from data_mover.domain.locations import CatalogueItem, Endpoint, Location, invalid
from data_mover.domain.problems import problems_of
from data_mover.domain.secrets import writing_problem

log = logging.getLogger(__name__)

#: how often the files that a registry names are checked while an entry is refused
LOOK_AGAIN_SECONDS = 1.0
#: hosts, data types and keys are gone once the file has stayed the same for so long: one that is being written may end
#: anywhere
SETTLED_SECONDS = 1.0
#: for so long the jobs of a host wait that has left the registry
MISSED_SECONDS = 60.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SECTIONS = ("hosts", "datasets")
_SAMPLE_ID = "1"


@dataclass(frozen=True)
class HostEntry:
    """One host as the registry's file has it, with its problems."""

    name: str
    table: Mapping[str, Any]
    #: None if there are problems
    options: HostOptions | None
    problems: tuple[ConfigProblem, ...]


class RegistryFile:
    """The registry in its file, read again whenever the file changes. While an entry is refused, the files that it
    names are checked again too."""

    def __init__(self, path: Path, open_web: bool, denied: Sequence[Network] = ()) -> None:
        """Raises ConfigurationError if the file cannot be used at all; problems of one host or data type are logged,
        and only that is refused."""
        self.path = path
        self._open_web = open_web
        self._denied = denied
        self._version = self._seen = self._file_version()
        self._seen_at = time.monotonic()
        #: the hosts that have left the registry, with the times when they were missed first
        self._missed = dict[str, float]()
        self._text = _text_of(path)
        self._registry = parse_registry(self._text, path, open_web, denied)
        self._read_at = time.monotonic()
        self._log_problems()

    def current(self) -> Registry:
        """Return the registry of the newest valid file."""
        version = self._file_version()
        if version != self._version:
            self._read_changed(version)
        elif self._registry.problems and time.monotonic() - self._read_at > LOOK_AGAIN_SECONDS:
            self._look_again()
        longest_ago = time.monotonic() - MISSED_SECONDS
        missed = frozenset(name for name, missed_at in self._missed.items() if missed_at > longest_ago)
        if missed != self._registry.missed_hosts:
            self._registry = replace(self._registry, missed_hosts=missed)
        return self._registry

    def _has_settled(self, version: tuple[int, ...] | None) -> bool:
        """Whether the file is as it was a second ago: by an earlier look, or by the time of its last change."""
        now = time.monotonic()
        if version != self._seen:
            self._seen, self._seen_at = version, now
        unchanged_seconds = time.time() - version[-1] / 1e9 if version else 0.0
        return max(now - self._seen_at, unchanged_seconds) >= SETTLED_SECONDS

    def _read_changed(self, version: tuple[int, ...] | None) -> None:
        """Take the new registry. One that has lost something may be in the middle of being written: it has to stay the
        same first."""
        try:
            text = _text_of(self.path)
            registry = parse_registry(text, self.path, self._open_web, self._denied)
            if self._text.endswith("\n") and not text.endswith("\n"):
                raise _file_problem(self.path, "ends in the middle of a line: it is being written, or was cut off")
        except ConfigurationError as error:
            for problem in error.problems:
                log.error("registry-refused the old one stays in force: %s: %s", self.path, problem)
        else:
            if _every_name(self._registry) - _every_name(registry) and not self._has_settled(version):
                return
            self._miss_hosts(registry)
            self._registry, self._text = registry, text
            log.info("registry-read %s", self.path)
            self._log_problems()
        self._version, self._read_at = version, time.monotonic()

    def _miss_hosts(self, registry: Registry) -> None:
        """Note which hosts the new registry no longer has, and which are back."""
        named = _host_names(registry)
        gone = _host_names(self._registry) - named
        for name in sorted(gone):
            log.error("registry-host-missed %s: hosts.%s has gone; its jobs wait %g s", self.path, name, MISSED_SECONDS)
        before = {name: missed_at for name, missed_at in self._missed.items() if name not in named}
        self._missed = before | dict.fromkeys(gone, time.monotonic())

    def _look_again(self) -> None:
        """Parse the registry again, and log only new problems."""
        before, self._read_at = self._registry.problems, time.monotonic()
        self._registry = parse_registry(self._text, self.path, self._open_web, self._denied)
        if self._registry.problems != before:
            log.info("registry-looked-at-again %s", self.path)
            self._log_problems()

    def _log_problems(self) -> None:
        for problem in self._registry.problems:
            log.error("registry-entry-refused %s: %s", self.path, problem)

    def _file_version(self) -> tuple[int, ...] | None:
        try:
            status, above = self.path.stat(), self.path.parent.stat()
        except OSError:
            return None
        of_file = status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return above.st_mode, above.st_uid, *of_file


def _host_names(registry: Registry) -> set[str]:
    return set(registry.hosts) | registry.refused_hosts


def _every_name(registry: Registry) -> set[tuple[str, ...]]:
    """Return the names of hosts and data types, those that were refused among them, and with the keys of hosts."""
    names = _host_names(registry) | set(registry.datasets) | registry.refused_datasets
    keys = {(name, key) for name, options in registry.hosts.items() for key in options.model_fields_set}
    return keys | {(name,) for name in names}


def load_registry(path: Path, open_web: bool, denied: Sequence[Network] = ()) -> Registry:
    """Read the file; return what `parse_registry` does."""
    return parse_registry(_text_of(path), path, open_web, denied)


def parse_registry(text: str, path: Path, open_web: bool, denied: Sequence[Network] = ()) -> Registry:
    """Return the registry with every problem of its text. `path` is its file, to which names of files are relative. An
    open web may be read without being named, except for the denied networks. Raises ConfigurationError if it is not
    TOML.
    """
    if not text.strip() and not open_web:
        raise _file_problem(path, "is empty: it is being written, or was cut off")
    document = _document(text, path)
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
    registry = Registry(
        {name: host.within(web) if isinstance(host, WebOptions) else host for name, host in hosts.items()},
        datasets,
        WebOptions(protocol="https").within(web) if open_web else None,
        refused_hosts=_names(document, "hosts") - hosts.keys(),
    )
    of_datasets = _dataset_problems(registry)
    served = {name: dataset for name, dataset in datasets.items() if name not in of_datasets}
    return replace(
        registry,
        datasets=served,
        refused_datasets=_names(document, "datasets") - served.keys(),
        problems=(*problems, *of_datasets.values()),
    )


def host_entries(path: Path) -> list[HostEntry]:
    """Return the hosts in the file, each with its own problems. Raises ConfigurationError if it is not TOML."""
    return [_entry(name, table, path) for name, table in _tables(_document(_text_of(path), path), "hosts", [])]


def _entry(name: str, table: dict[str, Any], path: Path) -> HostEntry:
    problems: list[ConfigProblem] = []
    options = _load_host(name, table, path.parent.resolve(), problems)
    return HostEntry(name, table, options, tuple(problems))


def _text_of(path: Path) -> str:
    """Return the text. Raises ConfigurationError if the file cannot be read, or others could change it."""
    if problem := writing_problem(path):
        raise _file_problem(path, problem)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _file_problem(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _file_problem(path, f"is not TOML: {error}") from error


def _document(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _file_problem(path, f"is not TOML: {error}") from error


def _file_problem(path: Path, sentence: str) -> ConfigurationError:
    return ConfigurationError(str(path), [ConfigProblem("file", sentence)])


def _names(document: dict[str, Any], section: str) -> frozenset[str]:
    content = document.get(section, {})
    return frozenset(content) if isinstance(content, dict) else frozenset()


def _tables(document: dict[str, Any], section: str, problems: list[ConfigProblem]) -> list[tuple[str, dict[str, Any]]]:
    """Return the named tables of a section; append a problem for anything else in it."""
    content = document.get(section, {})
    if not isinstance(content, dict):
        problems.append(ConfigProblem(section, f"must contain tables like [{section}.name]"))
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


def _dataset_problems(registry: Registry) -> dict[str, ConfigProblem]:
    """Return problems by data type: sources that are not endpoints of source hosts, and invalid destinations. Problems
    of a host are not repeated."""
    problems = {}
    for name, dataset in registry.datasets.items():
        try:
            locations, endpoint = dataset.locations(_SAMPLE_ID), dataset.endpoint(_SAMPLE_ID)
            for location in locations:
                _require_known(registry, location)
            if endpoint and endpoint.host not in registry.refused_hosts:
                registry.resolve_destination(endpoint)
            if endpoint and len(locations) > 1 and not endpoint.path.endswith("/"):
                raise invalid("destination", "several sources need a directory; end the path with /")
        except Refusal as refusal:
            key = f"datasets.{name}.{refusal.field.partition('.')[0]}"
            problems[name] = ConfigProblem(key, refusal.reason)
    return problems


def _require_known(registry: Registry, location: Location) -> None:
    if isinstance(location, CatalogueItem):
        raise invalid("source", "must be a host and path, or a URL")
    if not isinstance(location, Endpoint) or location.host not in registry.refused_hosts:
        registry.resolve_sources((location,))
