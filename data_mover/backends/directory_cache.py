"""The cache of a connection for the directories of its host."""

from posixpath import dirname

#: the most directories in the cache; then it is emptied
MOST_DIRECTORIES = 1000


class KnownDirectories:
    """The realpaths of directories, and which ones exist: else each file of a folder would need a request for every
    directory above it.

    They may be removed meanwhile: the host then refuses operations in them, and the caller must forget all.
    """

    def __init__(self) -> None:
        self._realpaths: dict[str, str] = {}
        self._there: set[str] = set()
        #: the paths of both and all paths above them: below any other path there is nothing to forget
        self._above: set[str] = set()

    def realpath(self, path: str) -> str | None:
        return self._realpaths.get(path)

    def is_there(self, path: str) -> bool:
        return path in self._there

    def remember_realpath(self, path: str, realpath: str) -> str:
        if len(self._realpaths) >= MOST_DIRECTORIES:
            self.forget_all()
        self._realpaths[path] = realpath
        self._remember_above(path)
        return realpath

    def remember_there(self, path: str) -> None:
        if len(self._there) >= MOST_DIRECTORIES:
            self.forget_all()
        self._there.add(path)
        self._remember_above(path)

    def forget(self, *paths: str) -> None:
        """Forget the paths and all below them, since they may lead elsewhere now."""
        for path in self._above.intersection(paths):
            below = f"{path.rstrip('/')}/"
            self._realpaths = {
                known: realpath for known, realpath in self._realpaths.items() if not f"{known}/".startswith(below)
            }
            self._there = {known for known in self._there if not f"{known}/".startswith(below)}

    def forget_all(self) -> None:
        self._realpaths.clear()
        self._there.clear()
        self._above.clear()

    def _remember_above(self, path: str) -> None:
        while path not in self._above:
            self._above.add(path)
            path = dirname(path)
