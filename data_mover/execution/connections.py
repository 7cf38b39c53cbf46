"""The connections of one attempt: to each of its sources' hosts, and to its destination."""

from types import TracebackType
from typing import Self

from data_mover.backends import writable
from data_mover.backends.api import Files, Source
from data_mover.backends.futures import Line
from data_mover.backends.local.options import LocalOptions
from data_mover.backends.options import Role
from data_mover.config.registry import Registry
from data_mover.domain.errors import HostUnreachable, UnknownHost
from data_mover.execution.connector import Connector


class Connections:
    """Connects on first use; gives up all connections together. `abort` may be called by any thread."""

    def __init__(self, registry: Registry, connector: Connector) -> None:
        #: by which hosts are reached; whoever narrows it does so before the first connection
        self.registry = registry
        self._connector = connector
        self._made: dict[tuple[str, Role], Source] = {}
        #: why a host could not be reached, if that is so
        self.unreachable: HostUnreachable | None = None
        #: whether a host over a network is being connected to, which time-outs end and `abort` does not
        self.is_connecting = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        made, self._made = self._made, {}
        for (host, _), connected in made.items():
            if kind is not None or not self._connector.keep(host, connected):
                connected.close()

    def source(self, host: str) -> Source:
        return self._to(host, "source")

    def destination(self, host: str) -> Files:
        return writable(self._to(host, "destination"))

    def cleared(self, host: str) -> Files:
        """Return a connection to a host that has been a destination, whatever it is now."""
        return writable(self._connected(host, "destination"))

    def lines(self) -> list[Line]:
        """Return the lines of the connections that can have many files in flight."""
        return [line for connected in self._made.values() for line in connected.lines]

    def abort(self) -> None:
        for connected in tuple(self._made.values()):
            connected.abort()

    def _to(self, host: str, role: Role) -> Source:
        """Return the connection. Raises UnknownHost if the registry no longer has the host in this role, and what
        `Connector.connect` raises."""
        options = self.registry.every_host.get(host)
        if options is not None and role not in options.roles:
            raise UnknownHost(f"{host} as a {role}")
        return self._connected(host, role)

    def _connected(self, host: str, role: Role) -> Source:
        if (host, role) not in self._made:
            self.is_connecting = not isinstance(self.registry.every_host.get(host), LocalOptions)
            try:
                self._made[host, role] = self._connector.connect(host, self.registry)
            except HostUnreachable as failure:
                self.unreachable = failure
                raise
            finally:
                self.is_connecting = False
        return self._made[host, role]
