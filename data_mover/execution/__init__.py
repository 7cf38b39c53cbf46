"""One attempt at a job: list the files, move them, record the outcome."""
