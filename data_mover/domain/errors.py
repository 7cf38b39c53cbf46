"""Every error of Data Mover.

::

DataMoverError ├── ConfigurationError the configuration cannot be used; lists every problem ├── Refusal a request is
answered with REJECTED, and no job is made ├── ServiceUnavailable the database does not answer; the caller should ask
again ├── AttemptEnded not a failure of the move: this attempt must stop now │ ├── Fenced the job belongs to another
attempt; publish nothing │ ├── Cancelled the caller has cancelled the job │ ├── PathBusy another job is writing to the
same path; this one waits │ └── Stopped the worker has to end; another one continues │ └── GaveWay the worker is needed
by another job ├── FilesFailed of many files some have failed for good, and nothing more can be done └── MoveFailure an
attempt failed, one class per code (see `FAILURES`)

A `MoveFailure` describes one kind of failure: the class docstring is the sentence that people read, `code` is what
programs compare, `retryable` says whether a retry can help and `who_can_fix` who has to act (`caller`, `host owner` or
`operator`). `docs/reference/codes.md` is written from these classes.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from data_mover.domain.printable import printable


class DataMoverError(Exception):
    """Base of all errors of Data Mover."""


class ConfigProblem(NamedTuple):
    """One problem in the configuration."""

    key: str
    sentence: str

    def __str__(self) -> str:
        return printable(f"{self.key}: {self.sentence}")


class ConfigurationError(DataMoverError):
    """The configuration cannot be used."""

    def __init__(self, file: str, problems: Sequence[ConfigProblem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{file} cannot be used:\n{lines}")


class Refusal(DataMoverError):
    """The request is refused; no job is made."""

    def __init__(self, reason: str, *, code: str, field: str) -> None:
        self.reason = reason
        self.code = code
        self.field = field
        super().__init__(reason)


class ServiceUnavailable(DataMoverError):
    """The service cannot answer at the moment; ask again."""


class AttemptEnded(DataMoverError):
    """This attempt must stop now."""


class Fenced(AttemptEnded):
    """The job belongs to another attempt."""


class Cancelled(AttemptEnded):
    """The job was cancelled."""


class PathBusy(AttemptEnded):
    """Another running job writes to the same path."""


class Stopped(AttemptEnded):
    """The worker was asked to stop."""


class GaveWay(Stopped):
    """The worker is needed by another job, which waited because one host or one caller had all workers."""

    def __init__(self, job_id: int) -> None:
        """The job may be another caller's, so the reason does not name it."""
        self.job_id = job_id
        super().__init__("gave way to another job, which waited because one host or one caller had all workers")


class FilesFailed(DataMoverError):
    """Some files of the move have failed for good."""

    def __init__(self, code: str, reason: str) -> None:
        """Code and reason are those of the first file that failed."""
        self.code = code
        self.reason = reason
        super().__init__(reason)


class MoveFailure(DataMoverError):
    """The move failed."""

    #: HTTP failures have one for each status
    code: str
    retryable: ClassVar[bool]
    who_can_fix: ClassVar[str]

    def __init_subclass__(cls, *, code: str, retryable: bool, who_can_fix: str) -> None:
        cls.code = code
        cls.retryable = retryable
        cls.who_can_fix = who_can_fix
        FAILURES[code] = cls

    def __init__(self, detail: str | None = None, *, host: str | None = None) -> None:
        """`detail` names the host and the path, never a secret and never raw text of a remote program. `host` is the
        host that it happened at, where `detail` does not begin with it."""
        self.detail = detail
        self.host = host
        super().__init__(self.reason)

    @classmethod
    def sentence(cls) -> str:
        return (cls.__doc__ or "").partition("\n")[0]

    def is_of(self, host: str) -> bool:
        """Whether it happened at the host."""
        if self.host is not None:
            return self.host == host
        return is_of(self.detail or "", host)

    @property
    def reason(self) -> str:
        """The sentence for people, with the detail: `There is no such file: disk:/a/b.tif`."""
        return f"{self.sentence().rstrip('.')}: {self.detail}" if self.detail else self.sentence()


#: The table of failures by code, in the order of definition.
FAILURES: dict[str, type[MoveFailure]] = {}


class HostUnreachable(MoveFailure, code="host-unreachable", retryable=True, who_can_fix="host owner"):
    """The host cannot be reached."""


class HostKeyMismatch(MoveFailure, code="host-key-mismatch", retryable=False, who_can_fix="operator"):
    """The host shows another key than the registry expects, so nothing was sent to it."""


class LoginRefused(MoveFailure, code="login-refused", retryable=False, who_can_fix="operator"):
    """The host refuses the registered login."""


class NotAllowed(MoveFailure, code="not-allowed", retryable=False, who_can_fix="operator"):
    """The path leads outside of what the registry, or the rights of the caller, allow."""


class NoSuchFile(MoveFailure, code="no-such-file", retryable=False, who_can_fix="caller"):
    """There is no such file."""


class NoRoot(NoSuchFile, code="no-root", retryable=False, who_can_fix="operator"):
    """There is no directory at the registered root."""


class IsADirectory(MoveFailure, code="is-a-directory", retryable=False, who_can_fix="caller"):
    """A directory stands where a file is expected."""


class NotADirectory(MoveFailure, code="not-a-directory", retryable=False, who_can_fix="caller"):
    """Several files need a directory, and there is none of that name; end the path with / to have it made."""


class NameConflict(MoveFailure, code="name-conflict", retryable=False, who_can_fix="caller"):
    """Two files of the move have the same name at the destination."""


class BadName(MoveFailure, code="bad-name", retryable=False, who_can_fix="caller"):
    """The name cannot be used: it is not UTF-8, too long, no name at all, or the host cannot tell it."""


class NotARegularFile(MoveFailure, code="not-a-regular-file", retryable=False, who_can_fix="caller"):
    """Only regular files can be moved."""


class PermissionRefused(MoveFailure, code="permission", retryable=False, who_can_fix="host owner"):
    """The host does not permit this."""


class NoSpace(MoveFailure, code="no-space", retryable=True, who_can_fix="host owner"):
    """There is no space left on the host."""


class CannotReplace(MoveFailure, code="cannot-replace", retryable=False, who_can_fix="operator"):
    """The host cannot replace a file atomically, and the registry does not say replace = "swap"."""


class NotAtomic(MoveFailure, code="not-atomic", retryable=False, who_can_fix="caller"):
    """The host cannot make a directory appear at once."""


class Exists(MoveFailure, code="exists", retryable=False, who_can_fix="caller"):
    """A file stands at the destination already, and the request says to leave it."""


class Superseded(MoveFailure, code="superseded", retryable=False, who_can_fix="caller"):
    """A move that was submitted later has put its file at the same path."""


class SourceChanged(MoveFailure, code="source-changed", retryable=True, who_can_fix="caller"):
    """The source changed while it was read."""


class ChecksumMismatch(MoveFailure, code="checksum-mismatch", retryable=False, who_can_fix="caller"):
    """The source has another checksum than the request says."""


class VerifyFailed(MoveFailure, code="verify-failed", retryable=True, who_can_fix="host owner"):
    """What arrived differs from what was sent."""


class HostFailed(MoveFailure, code="host-failed", retryable=True, who_can_fix="host owner"):
    """The host failed at this and does not say why."""


class Stalled(MoveFailure, code="stalled", retryable=True, who_can_fix="host owner"):
    """The transfer stopped moving."""


class ConnectionLost(MoveFailure, code="connection-lost", retryable=True, who_can_fix="host owner"):
    """The connection to the host broke."""


class DeadlinePassed(MoveFailure, code="deadline", retryable=False, who_can_fix="caller"):
    """The move did not end before its deadline."""


class Poison(MoveFailure, code="poison", retryable=False, who_can_fix="operator"):
    """Workers died while they worked on this move: three, the last while nothing else ran beside it, or five in all."""


class UnknownHost(MoveFailure, code="unknown-host", retryable=False, who_can_fix="operator"):
    """The host is no longer in the registry, or no longer has the role."""


class UnknownOutcome(MoveFailure, code="unknown-outcome", retryable=False, who_can_fix="host owner"):
    """The attempt died while it published the file, and nobody knows whether the file got its final name."""


class HttpRefused(MoveFailure, code="http-<status>", retryable=False, who_can_fix="operator"):
    """The web server does not give the file."""

    def __init__(self, status: int, detail: str | None = None) -> None:
        self.code = f"http-{status}"
        super().__init__(detail)

    @classmethod
    def of(cls, status: int) -> "type[HttpRefused]":
        """Return the failure of a status other than 200."""
        if status == 401:
            return HttpLoginRefused
        if status in (404, 410):
            return HttpMissing
        return HttpFailed if status in (408, 425, 429) or status >= 500 else HttpRefused


class HttpLoginRefused(HttpRefused, code="http-401", retryable=False, who_can_fix="operator"):
    """The web server refuses the registered login, or wants one where none is registered."""


class HttpMissing(HttpRefused, code="http-404", retryable=False, who_can_fix="caller"):
    """The web server has no such file."""


class HttpFailed(HttpRefused, code="http-5xx", retryable=True, who_can_fix="host owner"):
    """The web server cannot answer now."""


class CertificateRefused(MoveFailure, code="certificate-refused", retryable=False, who_can_fix="host owner"):
    """The host cannot prove by its certificate who it is, so nothing was asked of it."""


class TooLarge(MoveFailure, code="too-large", retryable=False, who_can_fix="operator"):
    """The file is larger than the registry allows, or the move has more files or levels than it may have."""


class TooSlow(MoveFailure, code="too-slow", retryable=True, who_can_fix="host owner"):
    """Reading the file took longer than the registry allows."""


class SizeUnknown(MoveFailure, code="size-unknown", retryable=False, who_can_fix="host owner"):
    """The source does not tell the size of the file, without which it cannot be moved."""


class Encoded(MoveFailure, code="encoded", retryable=False, who_can_fix="host owner"):
    """The web server compresses what was asked for as it is."""


class StateDirFull(MoveFailure, code="state-dir-full", retryable=True, who_can_fix="operator"):
    """There is no space left in Data Mover's own state directory."""


class InternalError(MoveFailure, code="internal", retryable=True, who_can_fix="operator"):
    """Data Mover itself failed; its log says how."""


def is_of(detail: str, host: str) -> bool:
    """Whether the detail of a failure says that it happened at the host."""
    return detail.startswith((f"{host}:", f"{host} ")) or detail == host


def failure_of(code: str) -> type[MoveFailure] | None:
    """Return the class of failure with the code, if there is one."""
    if code.startswith("http-") and code[5:].isdecimal():
        return HttpRefused.of(int(code[5:]))
    return FAILURES.get(code)
