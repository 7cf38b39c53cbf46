"""Workers: an RQ worker listens for the doorbell, and its loop claims jobs and runs an attempt at each.

`rq_worker` listens · `loop` claims until nothing is left · `maintenance` probes hosts and clears temporary files ·
`sweeper` wakes workers and takes back the jobs of dead ones.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_mover.worker.rq_worker import Worker, answer_doorbell

__all__ = ["Worker", "answer_doorbell"]


def __getattr__(name: str) -> Any:
    """Load the RQ worker on demand: the sweeper moves no bytes, and needs none of it."""
    if name in __all__:
        from data_mover.worker import rq_worker

        return getattr(rq_worker, name)
    raise AttributeError(name)
