"""Act on all moves that match a filter, in steps for which a request has time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from data_mover.config.callers import Caller
from data_mover.domain.errors import Refusal
from data_mover.domain.rights import Verb
from data_mover.store import listing
from data_mover.store.database import Database
from data_mover.store.listing import CANCELLABLE, RETRYABLE, JobFilter

#: how many moves are acted upon at most: the newest that match
MOST_MOVES = 10_000
#: how many moves a step takes on at most, and how long it lasts: it ends after the move in hand
MOVES_OF_A_STEP = 200
STEP_SECONDS = 3.0

_WHICH = {Verb.CANCEL: CANCELLABLE, Verb.RETRY: RETRYABLE}


@dataclass(frozen=True)
class BulkProgress:
    """How far an action on many moves has come."""

    #: how many moves match, MOST_MOVES at most, and the oldest of them
    matching: int
    oldest: int
    #: the id of the move that was acted upon last; those of smaller ids follow
    before: int
    done: int = 0
    refused: int = 0
    #: the sentence of the first refusal
    refusal: str = ""
    is_over: bool = False


class Bulk:
    """Acts on the moves that a caller may act upon, the newest first. A move that is submitted meanwhile is left
    alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, caller: Caller, job_filter: JobFilter, of_caller: str | None) -> BulkProgress:
        """Return how many moves match, of those that the caller sees, before anything is done."""
        if of_caller is not None and not caller.sees(of_caller):
            return BulkProgress(0, 0, 0, is_over=True)
        with self._database.reading() as session:
            found = listing.matching(session, of_caller or caller.sees_only, job_filter, MOST_MOVES)
        return BulkProgress(found.count, found.oldest, found.newest + 1, is_over=not found.count)

    def step(
        self,
        caller: Caller,
        verb: Verb,
        job_filter: JobFilter,
        of_caller: str | None,
        progress: BulkProgress,
        act: Callable[[int], object],
    ) -> BulkProgress:
        """Act on the next moves that can be cancelled, or retried and were not yet. A Refusal of one does not keep the
        others."""
        until = time.monotonic() + STEP_SECONDS
        ids = self._next(caller, verb, replace(job_filter, before=progress.before), of_caller, progress.oldest)
        for job_id in ids:
            try:
                act(job_id)
                progress = replace(progress, before=job_id, done=progress.done + 1)
            except Refusal as refusal:
                first = progress.refusal or f"Move {job_id}: {refusal.reason}"
                progress = replace(progress, before=job_id, refused=progress.refused + 1, refusal=first)
            if time.monotonic() >= until:
                return progress
        return replace(progress, is_over=len(ids) < MOVES_OF_A_STEP)

    def _next(self, caller: Caller, verb: Verb, job_filter: JobFilter, of_caller: str | None, oldest: int) -> list[int]:
        """Return the ids of the next moves of a step, of those that the caller may act upon."""
        owner = of_caller if caller.may(Verb.ACT_ALL) else caller.name
        if of_caller not in (None, owner):
            return []
        with self._database.reading() as session:
            return listing.ids(session, owner, job_filter, _WHICH[verb], oldest, MOVES_OF_A_STEP)
