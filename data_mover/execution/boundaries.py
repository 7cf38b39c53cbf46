"""What the caller of a move may use of its hosts, judged by the realpaths: a link may lead out of what was allowed."""

from posixpath import basename, dirname, join

from data_mover.backends.api import Files, Source
from data_mover.config.callers import Callers
from data_mover.config.registry import Registry
from data_mover.domain.errors import NotAllowed
from data_mover.domain.locations import Endpoint, parse_sources
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.rights import PathPrefix, Rights
from data_mover.domain.selection import Links


class Boundaries:
    """The rights of one caller, as they are now, over one move. Asks a host for the realpath of each directory once,
    and for none if the caller may use all of the host."""

    def __init__(self, callers: Callers, caller: str, spec: MoveSpec, registry: Registry) -> None:
        self._callers = callers
        self._caller = caller
        self._spec = spec
        self._registry = registry
        self._rights = self._present_rights()
        #: the realpaths of directories, by host
        self._realpaths = dict[tuple[str, str], str]()

    def require_ends(self) -> Registry:
        """Return the registry as this move may use it. Raises NotAllowed if the caller may not, or no longer, use a
        source or the destination."""
        if self._rights is None:
            raise NotAllowed(f"the caller {self._caller} is no longer known")
        seen = self._registry.seen_with(self._rights)
        asked = parse_sources(self._spec.asked) if self._spec.asked else ()
        self._granted = seen.granted_by_types(asked)
        absent = self._registry.refused_hosts | self._registry.missed_hosts
        for source in self._spec.sources:
            if source.host in absent:  # it shows when the host is connected to
                continue
            if source not in self._granted and not seen.may_read(source):
                raise NotAllowed(str(source))
        destination = self._spec.destination
        if not self._rights.may_create(destination.host, destination.path):
            raise NotAllowed(str(destination))
        return seen.confined_to(self._granted)

    def most_files(self, most: int) -> int:
        """Return how many files the move may have, of those that a move may have at all."""
        caller = self._callers.named(self._caller, self._spec.scopes)
        own = caller.quota.files_per_move if caller else None
        return most if own is None else min(most, own)

    def require_unrevoked(self) -> None:
        """Raise NotAllowed if the caller has lost a right that the move needs since it began."""
        present = self._present_rights()
        if present != self._rights:
            self._rights = present
            self.require_ends()

    def require_readable(self, source: Source, number: int, path: str) -> None:
        """Raise NotAllowed if the file or directory, of the source with that number, is elsewhere than the caller may
        read."""
        asked, rights = self._spec.sources[number], self._known_rights
        if not source.has_directories or rights.may_read(source.host, "/"):
            return
        is_entry = path != asked.path.rstrip("/") and self._spec.selection.links is not Links.FOLLOW
        realpath = self._beside(source, path) if is_entry else self._realpath(source, path)
        prefixes = (*rights.sources, *self._granted_prefixes(source, asked))
        if not any(prefix.covers(source.host, realpath) for prefix in prefixes):
            raise NotAllowed(source.named(path))

    def require_writable(self, destination: Files, path: str) -> None:
        """Raise NotAllowed if a file with this final path would be elsewhere than the caller may create files."""
        if self._known_rights.may_create(destination.host, "/"):
            return
        realpath = self._beside(destination, path)
        if not any(prefix.has_file(destination.host, realpath) for prefix in self._known_rights.creates):
            raise NotAllowed(destination.named(path))

    def require_directory(self, destination: Files, path: str) -> None:
        """Raise NotAllowed if a directory of this path would be elsewhere than the caller may create files."""
        rights = self._known_rights
        if not rights.may_create(destination.host, self._realpath(destination, path)):
            raise NotAllowed(destination.named(path))

    def may_replace(self, destination: Files, path: str) -> bool:
        """Whether a file with this final path may replace another."""
        prefixes = self._known_rights.replaces
        if any(prefix.covers(destination.host, "/") for prefix in prefixes):
            return True
        realpath = self._beside(destination, path)
        return any(prefix.has_file(destination.host, realpath) for prefix in prefixes)

    def _present_rights(self) -> Rights | None:
        caller = self._callers.named(self._caller, self._spec.scopes)
        return caller.rights if caller else None

    @property
    def _known_rights(self) -> Rights:
        return self._rights or Rights()

    def _granted_prefixes(self, source: Source, asked: Endpoint) -> list[PathPrefix]:
        """Return where a data type leads to, wherever that is."""
        if asked not in self._granted:
            return []
        return [PathPrefix(source.host, self._realpath(source, asked.path.rstrip("/") or "/"))]

    def _beside(self, connected: Source, path: str) -> str:
        """Return the path with all links on the way followed, but for one at its end."""
        return join(self._realpath(connected, dirname(path)), basename(path))

    def _realpath(self, connected: Source, path: str) -> str:
        """Return the path with all links followed; it may be missing yet."""
        key = connected.host, path
        if key not in self._realpaths:
            is_there = path == "/" or connected.stat(path) is not None
            self._realpaths[key] = connected.realpath(path) if is_there else self._beside(connected, path)
        return self._realpaths[key]
