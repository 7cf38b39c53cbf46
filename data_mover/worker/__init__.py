"""Workers: an RQ worker listens for the doorbell, and its loop claims jobs and runs an attempt at each.

`rq_worker` listens · `loop` claims until nothing is left · `maintenance` probes hosts and clears temporary files ·
`sweeper` wakes workers and takes back the jobs of dead ones.
"""

from data_mover.worker.rq_worker import Worker, answer_doorbell

__all__ = ["Worker", "answer_doorbell"]
