"""What a protocol adds to the check of a host: the steps before those on files below the root."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_mover.backends.options import HostOptions
from data_mover.domain.findings import Step


class HostCheck:
    """The check of a host that needs no address and no login; protocols that do override what they add."""

    def __init__(self, host: str, table: Mapping[str, Any], options: HostOptions | None) -> None:
        """`table` is the host's entry as it is written; `options` is None if the entry has problems."""
        self.host = host
        self.table = table
        self.options = options

    def reach(self) -> Sequence[Step]:
        """Return the steps that check who answers at the address: before any login, and even if the entry has
        problems."""
        return ()

    def log_in(self) -> Sequence[Step]:
        """Return the steps that check the login. Called only if the entry has no problems."""
        return ()

    def root_advice(self) -> str:
        """Return what to do if the root is missing or cannot be entered."""
        root = self.options.root if self.options else "the root"
        return f"See that {root} is a directory there that Data Mover may enter, or correct `root`."
