"""The exit statuses of our own commands on a host, and their failures.

A shell that runs nothing exits with 0, and so do some programs that are no shells.
"""

from data_mover.domain.errors import (
    CannotReplace,
    IsADirectory,
    MoveFailure,
    NoSuchFile,
    NotAllowed,
    NotARegularFile,
    PermissionRefused,
)

DONE, IS_A_DIRECTORY, NOT_PERMITTED, MISSING, EXISTS, CANNOT_REPLACE, NOT_A_FILE, NOT_DONE = range(80, 88)
#: the directory has been exchanged for a link, or renamed, since its realpath was looked up
NOT_WHERE_IT_WAS = 88

_FAILURES: dict[int, type[MoveFailure]] = {
    IS_A_DIRECTORY: IsADirectory,
    NOT_PERMITTED: PermissionRefused,
    MISSING: NoSuchFile,
    EXISTS: PermissionRefused,
    CANNOT_REPLACE: CannotReplace,
    NOT_A_FILE: NotARegularFile,
    NOT_WHERE_IT_WAS: NotAllowed,
}


def failure_of(status: int, name: str) -> MoveFailure | None:
    """Return the failure of an exit status, for the file of that name; None if the status is none of ours."""
    failure = _FAILURES.get(status)
    return failure(name) if failure else None
