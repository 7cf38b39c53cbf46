"""Which files a move of folders takes, what they must be, and how they appear."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from wcmatch import glob

#: `*` and `?` do not cross a slash, `**` does; hidden files are files, and names are compared letter by letter
_FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.FORCEUNIX | glob.CASE


class Links(StrEnum):
    """What becomes of symbolic links within a folder."""

    #: they are left out
    SKIP = "skip"
    #: what they lead to is moved in their place
    FOLLOW = "follow"
    #: each one is a file that fails
    REFUSE = "refuse"


@dataclass(frozen=True)
class Selection:
    """What a caller wants of the files of a move. Names are paths below the source, or base names."""

    #: patterns of which a name must match one; where there is none, every file is taken
    match: tuple[str, ...] = ()
    links: Links = Links.SKIP
    #: the SHA-256, in hexadecimal, that files must have, by name
    checksums: Mapping[str, str] = field(default_factory=dict)
    #: whether all files appear at once, or none
    atomic: bool = False

    @classmethod
    def from_struct(cls, struct: Mapping[str, Any]) -> Self:
        return cls(tuple(struct["match"]), Links(struct["links"]), struct["checksums"], struct["atomic"])

    def as_struct(self) -> dict[str, Any]:
        return {
            "match": list(self.match),
            "links": self.links.value,
            "checksums": dict(self.checksums),
            "atomic": self.atomic,
        }

    def takes(self, name: str) -> bool:
        """Whether a file of this name is wanted."""
        return not self.match or bool(self._matcher.match(name))

    @cached_property
    def _matcher(self) -> glob.WcMatcher[str]:
        return glob.compile(list(self.match), flags=_FLAGS)
