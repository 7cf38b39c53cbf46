"""Check that the destination has room for the job."""

from data_mover.backends.api import Files
from data_mover.domain.errors import NoSpace


class Room:
    """The room that a job needs at its destination. Checked once, before the first file that is copied from byte 0."""

    def __init__(self, missing_bytes: int = 0) -> None:
        """`missing_bytes` are those that the job has still to copy, as far as known."""
        self._missing_bytes = missing_bytes
        #: what other jobs have reserved on the host
        self.others_bytes = 0
        self._is_known = False

    def settled(self, size_bytes: int) -> None:
        """Count bytes that need no longer be copied."""
        self._missing_bytes -= size_bytes

    def require(self, destination: Files, directory: str, size_bytes: int | None) -> None:
        """Raise NoSpace if the file does not fit beside what is reserved."""
        if self._is_known or size_bytes is None:
            return
        reserved = max(self._missing_bytes - size_bytes, 0) + self.others_bytes
        free = destination.free_bytes(directory)
        if free is not None and free < size_bytes + reserved:
            others = f", and {reserved} more are on their way there" if reserved else ""
            raise NoSpace(f"{destination.host} has {free} bytes free, the file has {size_bytes}{others}")
        self._is_known = True
