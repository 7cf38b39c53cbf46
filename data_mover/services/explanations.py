"""What a move waits for, in words, and who can release it."""

from dataclasses import dataclass
from datetime import datetime

from data_mover.config.callers import Caller, Callers
from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.states import REASONS, Cause, Phase, Status
from data_mover.doorbell import Doorbell
from data_mover.services.queries import no_such_job
from data_mover.store import explanations, reports, workers
from data_mover.store.database import Database
from data_mover.store.explanations import Obstacle
from data_mover.store.queue import Limits
from data_mover.store.reports import JobReport

_SENTENCES = {
    Cause.RUNNING: "A worker runs it: it is {phase}.",
    Cause.WORKER_LOST: "Its worker has given no sign of life; the sweeper hands the move to another one.",
    Cause.SETTLING: "Its end is decided; its files are being settled.",
    Cause.HOST_PAUSED: "The host {host} is paused; its moves wait until it is resumed.",
    Cause.HOST_UNREACHABLE: "The host {host} cannot be reached; it is tried again by itself.",
    Cause.PATH_LOCKED: "Another move writes to the same final path; this one follows.",
    Cause.WAITING_RETRY: "The last attempt {failed}. It is tried again by itself.",
    Cause.NO_WORKER: REASONS[Cause.NO_WORKER],
    Cause.NO_SWEEPER: REASONS[Cause.NO_SWEEPER],
    Cause.NO_REDIS: REASONS[Cause.NO_REDIS],
    Cause.HOST_LIMIT: "As many moves as may run with the host {host} at a time; this one follows.",
    Cause.HOST_UNPROVEN: "The host {host} was not reached of late; another move tries it, and this one waits for what "
    "it finds.",
    Cause.QUOTA: "As many of your moves run as may at a time; this one follows.",
    Cause.OTHERS_FIRST: "It waits for {slot}, and so do moves of other callers that come first: of a higher priority, "
    "or of callers with fewer running moves. {ahead} of your moves come before it.",
    Cause.QUEUED: "It waits for a worker; {ahead} of your moves come before it.",
}

_WHO_CAN_RELEASE = {
    Cause.WORKER_LOST: "operator",
    Cause.HOST_PAUSED: "operator",
    Cause.HOST_UNREACHABLE: "host owner",
    Cause.NO_WORKER: "operator",
    Cause.NO_SWEEPER: "operator",
    Cause.NO_REDIS: "operator",
    Cause.HOST_LIMIT: "operator",
    Cause.QUOTA: "operator",
    Cause.OTHERS_FIRST: "operator",
}


@dataclass(frozen=True)
class Explanation:
    """The answer to `explain`. What does not apply is None."""

    id: int
    status: Status
    phase: Phase | None
    cause: Cause
    sentence: str
    #: caller, host owner or operator; None if it resolves by itself
    who_can_release: str | None
    host: str | None
    worker: str | None
    position: int | None
    until: datetime | None


class Explanations:
    """Explains a caller's own moves; never names a move of another caller."""

    def __init__(
        self, settings: Settings, database: Database, registry: RegistryFile, callers: Callers, doorbell: Doorbell
    ) -> None:
        self._callers = callers
        self._silence_seconds = max(workers.SILENT_AFTER_SECONDS, settings.lease_seconds)
        self._database = database
        self._registry = registry
        self._doorbell = doorbell

    def explain(self, caller: Caller, job_id: int) -> Explanation:
        """Return what the move waits for. Raises Refusal if there is no such move."""
        limits = Limits(self._registry.current().slots, self._callers.running_limit())
        with self._database.reading() as session:
            job = reports.find(session, caller.sees_only, job_id)
            report = reports.report(session, caller.sees_only, job_id, self._doorbell.is_away)
            if job is None or report is None:
                raise no_such_job()
            silence_seconds, is_away = self._silence_seconds, self._doorbell.is_away
            return _explanation(report, explanations.obstacle(session, job, limits, silence_seconds, is_away))


def _explanation(report: JobReport, obstacle: Obstacle) -> Explanation:
    waits_for_fix = obstacle.cause in (Cause.ENDED, Cause.WAITING_RETRY)
    return Explanation(
        id=report.id,
        status=report.status,
        phase=report.phase,
        cause=obstacle.cause,
        sentence=_sentence(report, obstacle),
        who_can_release=report.who_can_fix if waits_for_fix else _WHO_CAN_RELEASE.get(obstacle.cause),
        host=obstacle.host,
        worker=obstacle.worker,
        position=obstacle.position,
        until=obstacle.until,
    )


def _sentence(report: JobReport, obstacle: Obstacle) -> str:
    if obstacle.cause is Cause.ENDED:
        return f"It has ended {report.status}: {report.reason}" if report.reason else f"It has ended {report.status}."
    return _SENTENCES[obstacle.cause].format(
        phase=report.phase,
        host=obstacle.host,
        failed=_failed(report),
        slot=f"a slot of the host {obstacle.host}" if obstacle.host else "a worker",
        ahead=(obstacle.position or 1) - 1,
    )


def _failed(report: JobReport) -> str:
    """Return how the last attempt ended. Why it was put off is not repeated: that names the move of another caller."""
    failed = f"failed: {(report.reason or '').rstrip('.')}"
    return failed if report.code is not None else "was put off for another move"
