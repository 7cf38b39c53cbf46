"""Rights: what a caller may do, and on which hosts, below which paths."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

#: stands for every host
EVERY_HOST = "*"


class Verb(StrEnum):
    """What a caller may do. The last three are of operators."""

    MOVE = "move"
    PLAN = "plan"
    CHECK = "check"
    CANCEL = "cancel"
    RETRY = "retry"
    #: read the moves of all callers
    SEE_ALL = "see-all"
    #: cancel and retry the moves of all callers
    ACT_ALL = "act-all"
    #: pause and resume hosts
    HOSTS = "hosts"


#: the verbs of a caller of whom nothing else is said
USUAL_VERBS = frozenset({Verb.MOVE, Verb.PLAN, Verb.CHECK, Verb.CANCEL, Verb.RETRY})
OPERATOR_VERBS = frozenset({Verb.SEE_ALL, Verb.ACT_ALL, Verb.HOSTS})


@dataclass(frozen=True)
class PathPrefix:
    """A path of a host and what is below it. A trailing slash says that the path is a directory."""

    host: str
    path: str = "/"

    def covers(self, host: str, path: str) -> bool:
        """Whether the path is this one, or below it."""
        return self.host in (EVERY_HOST, host) and f"{path.rstrip('/')}/".startswith(f"{self.path.rstrip('/')}/")

    def has_file(self, host: str, path: str) -> bool:
        """Whether a file of this path is here: a directory itself is none."""
        is_itself = self.path.endswith("/") and path == (self.path.rstrip("/") or "/")
        return self.covers(host, path) and not is_itself

    def __str__(self) -> str:
        return EVERY_HOST if self.host == EVERY_HOST else f"{self.host}:{self.path}"


@dataclass(frozen=True)
class Rights:
    """The verbs and prefixes of a caller."""

    verbs: frozenset[Verb] = frozenset()
    sources: tuple[PathPrefix, ...] = ()
    #: data types of the catalogue, each with whatever it leads to
    types: frozenset[str] = frozenset()
    #: whether web servers may be read that the registry does not name
    web: bool = False
    #: where files may be created, and where they may replace others
    creates: tuple[PathPrefix, ...] = ()
    replaces: tuple[PathPrefix, ...] = ()

    @classmethod
    def of_all(cls, granted: Iterable["Rights"]) -> "Rights":
        """Return rights to whatever one of these allows."""
        every = list(granted)
        return cls(
            verbs=frozenset(chain.from_iterable(each.verbs for each in every)),
            sources=tuple(chain.from_iterable(each.sources for each in every)),
            types=frozenset(chain.from_iterable(each.types for each in every)),
            web=any(each.web for each in every),
            creates=tuple(chain.from_iterable(each.creates for each in every)),
            replaces=tuple(chain.from_iterable(each.replaces for each in every)),
        )

    def may_read(self, host: str, path: str) -> bool:
        return _any_covers(self.sources, host, path)

    def may_create(self, host: str, path: str) -> bool:
        return _any_covers(self.creates, host, path)

    def may_use_type(self, name: str) -> bool:
        return name in self.types or _any_covers(self.sources, EVERY_HOST, "/")

    def sees(self, host: str) -> bool:
        """Whether the caller may do anything with the host."""
        return Verb.HOSTS in self.verbs or any(prefix.host in (EVERY_HOST, host) for prefix in self.prefixes)

    @property
    def prefixes(self) -> tuple[PathPrefix, ...]:
        """The sources and destinations."""
        return (*self.sources, *self.creates)


def _any_covers(prefixes: Iterable[PathPrefix], host: str, path: str) -> bool:
    return any(prefix.covers(host, path) for prefix in prefixes)


_EVERYWHERE = (PathPrefix(EVERY_HOST),)
#: the rights of a deployment's only caller
EVERYTHING = Rights(
    verbs=USUAL_VERBS | OPERATOR_VERBS, sources=_EVERYWHERE, web=True, creates=_EVERYWHERE, replaces=_EVERYWHERE
)
