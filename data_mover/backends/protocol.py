"""The description of a protocol: one `PROTOCOL` in each backend's folder."""

from dataclasses import dataclass
from importlib.util import find_spec
from pkgutil import resolve_name

from data_mover.backends.api import Source
from data_mover.backends.check import HostCheck
from data_mover.backends.options import HostOptions


@dataclass(frozen=True)
class Protocol:
    """A protocol. Backend and check are named as `module:class` and imported on first use, so that the web process
    never loads them."""

    #: the options of a host in the registry
    options: type[HostOptions]
    #: the `Source` that `connect` opens
    backend: str
    #: the `HostCheck` for such a host
    check: str = "data_mover.backends.check:HostCheck"
    #: the library that it needs, and the extra of this package that installs it
    needs: tuple[str, str] | None = None

    def problem(self) -> str | None:
        """Return a sentence if a library is not installed, else None."""
        if self.needs is None or find_spec(self.needs[0]) is not None:
            return None
        library, extra = self.needs
        return f"needs {library}; run: pip install 'data_mover[{extra}]', or where buildout installs: ./bin/buildout"

    def load_backend(self) -> type[Source]:
        backend: type[Source] = resolve_name(self.backend)
        return backend

    def load_check(self) -> type[HostCheck]:
        check: type[HostCheck] = resolve_name(self.check)
        return check
