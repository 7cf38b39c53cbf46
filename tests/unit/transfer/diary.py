"""A watch for tests, and local hosts for it to watch."""

from dataclasses import replace

from data_mover.backends.futures import complete
from data_mover.backends.local.backend import LocalFiles
from data_mover.backends.local.options import LocalOptions
from data_mover.transfer import stages


class Diary:
    """A watch that records its calls, and raises at one of them."""

    def __init__(self, raising=None, at=None):
        self.entries = []
        self.proof = None
        self._raising, self._at = raising, at

    def _note(self, word, *details):
        self.entries.append((word, *details))
        if word == self._at:
            raise self._raising

    def phase(self, name):
        self._note(name)

    async def lock_path(self, lock_name, size_bytes, temporary_file):
        self._note("placed", lock_name, size_bytes)
        if temporary_file is not None:
            self._note("creating", temporary_file)

    async def creating(self, temporary_file):
        self._note("creating", temporary_file)

    def copying_from(self, offset_bytes):
        self._note("copying from", offset_bytes)

    def checkpoint(self, path, checkpoint):
        self._note("checkpoint", path, checkpoint)

    def moved(self, acknowledged_bytes):
        self._note("moved", acknowledged_bytes)

    def read(self, count):
        self._note("read", count)

    def alive(self):
        self._note("alive")

    def busy(self, seconds):
        self._note("busy")

    async def publishing(self, proof):
        self.proof = proof
        self._note("publishing")

    async def not_published(self):
        self._note("not published")

    async def published(self, temporary):
        self._note("published", temporary)

    async def skipped(self, proof):
        self.proof = proof
        self._note("skipped")

    async def removed(self, temporary_file):
        self._note("removed", temporary_file)

    @property
    def on_record(self):
        """What was recorded and is not known to be gone, each with its last checkpoint."""
        recorded = {}
        for word, *details in self.entries:
            if word == "creating":
                recorded[details[0].path] = details[0]
            elif word == "checkpoint":
                recorded[details[0]] = replace(recorded[details[0]], checkpoint=details[1])
            elif word in ("removed", "published") and details[0] is not None:
                recorded.pop(details[0].path, None)
        return list(recorded.values())

    @property
    def words(self):
        return [entry[0] for entry in self.entries]


def files(root, kind=LocalFiles, **options):
    root.mkdir(exist_ok=True)
    table = {"protocol": "local", "root": str(root), "roles": ["source", "destination"], **options}
    return kind.connect(root.name, LocalOptions.model_validate(table))


def move_file(task, source, destination, recorder):
    """One file alone, to the end of its way."""
    complete(stages.move_file(task, source, destination, recorder))
