"""One attempt at a job: what there is to move, moving it, recording what became of it."""
