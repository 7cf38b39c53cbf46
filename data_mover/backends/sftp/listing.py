"""Listing one directory over SFTP."""

from collections.abc import Iterator
from contextlib import suppress

from data_mover.backends.api import Entry
from data_mover.backends.sftp.messages import Attributes, Named, Refused, Status
from data_mover.backends.sftp.session import SftpSession
from data_mover.domain.errors import MoveFailure


def listed(session: SftpSession, path: str, realpath: str) -> Iterator[Entry]:
    """Yield the entries of our `path`, at the host's path `realpath`; as many at a time as the host returns in one
    answer."""
    with session.mapping_errors(path):
        handle = session.open_directory(realpath)
    try:
        batch = _batch(session, path, handle)
        if not batch:
            _require_searchable(session, path, realpath)
        while batch:
            yield from _entries(session, path, realpath, batch)
            batch = _batch(session, path, handle)
    finally:
        with suppress(MoveFailure), session.mapping_errors(path):
            session.close(handle)


def _batch(session: SftpSession, path: str, handle: bytes) -> list[Named]:
    with session.mapping_errors(path):
        return session.next_names(handle)


def _require_searchable(session: SftpSession, path: str, realpath: str) -> None:
    """Raise the failure of a directory that can be read but not searched: OpenSSH returns no names for it, not even
    `.`."""
    with session.mapping_errors(path):
        session.attributes(f"{realpath.rstrip('/')}/.")


def _entries(session: SftpSession, path: str, realpath: str, batch: list[Named]) -> Iterator[Entry]:
    for name, attributes in batch:
        if name in (b".", b".."):
            continue
        text = name.decode(errors="surrogateescape")
        whole = attributes if attributes.mode is not None else _asked(session, path, f"{realpath.rstrip('/')}/{text}")
        if whole is not None:
            yield _entry(text, whole)


def _asked(session: SftpSession, path: str, realpath: str) -> Attributes | None:
    """Return the attributes, for a host that does not return them with the name; None if the entry no longer exists."""
    with session.mapping_errors(path):
        try:
            return session.link_attributes(realpath)
        except Refused as refused:
            if refused.status != Status.NO_SUCH_FILE:
                raise
            return None


def _entry(name: str, attributes: Attributes) -> Entry:
    modified_at = None if attributes.modified_at is None else float(attributes.modified_at)
    return Entry.of(name, attributes.mode or 0, attributes.size_bytes, modified_at)
