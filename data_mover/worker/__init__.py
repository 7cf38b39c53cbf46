"""What workers do: an RQ worker hears the bell, and a shift claims jobs and runs an attempt at each.

`attempt` runs one job and records what became of it · `shift` claims until nothing is left · `rq_worker` listens.
"""

from data_mover.worker.rq_worker import Worker, answer_doorbell

__all__ = ["Worker", "answer_doorbell"]
