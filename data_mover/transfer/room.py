"""Whether the destination has room for what is to come."""

from data_mover.backends.api import Files
from data_mover.domain.errors import NoSpace


class Room:
    """Asked for once, by the first file of a job that is copied from its first byte."""

    def __init__(self, missing_bytes: int = 0, others_bytes: int = 0) -> None:
        """`missing_bytes` are what the job has still to bring, as far as that is known; the others' are what other jobs
        bring to the same host."""
        self._missing_bytes = missing_bytes
        self._others_bytes = others_bytes
        self._is_known = False

    def settled(self, size_bytes: int) -> None:
        """So many bytes are no longer to come."""
        self._missing_bytes -= size_bytes

    def require(self, destination: Files, directory: str, size_bytes: int | None) -> None:
        """NoSpace if the destination says that the file cannot fit, or not beside what else is on its way there."""
        if self._is_known or size_bytes is None:
            return
        reserved = max(self._missing_bytes - size_bytes, 0) + self._others_bytes
        free = destination.free_bytes(directory)
        if free is not None and free < size_bytes + reserved:
            others = f", and {reserved} more are on their way there" if reserved else ""
            raise NoSpace(f"{destination.host} has {free} bytes free, the file has {size_bytes}{others}")
        self._is_known = True
