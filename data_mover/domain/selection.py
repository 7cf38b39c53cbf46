"""Which files of a folder are moved, their checksums, and whether they are published at once."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from operator import or_
from typing import Any, Self


class Links(StrEnum):
    """What to do with symbolic links within a folder."""

    #: they are left out
    SKIP = "skip"
    #: what they lead to is moved instead
    FOLLOW = "follow"
    #: each one is a file that fails
    REFUSE = "refuse"


@dataclass(frozen=True)
class Selection:
    """A caller's options for the files of a move. Names are paths below the source, or base names."""

    #: patterns of which a name must match one; without patterns, every file is moved
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
        """Whether a file of this name is to be moved."""
        segments = name.split("/")
        return not self.match or any(pattern.takes(segments) for pattern in self._patterns)

    @cached_property
    def _patterns(self) -> list["_Pattern"]:
        return [_Pattern(text) for text in self.match]


class _Pattern:
    """A pattern. `*` and `?` do not match a slash, `**` between slashes matches any number of segments, at the end one
    at least; hidden files match, and case counts.

    Each segment of a name is compared with each of the pattern once at most: patterns are untrusted, and trying all
    ways to divide a name among several `**` would take exponential time.
    """

    def __init__(self, text: str) -> None:
        segments = text.split("/")
        if segments[-1] == "**":
            segments.append("*")
        self._segments = [None if each == "**" else re.compile(fnmatch.translate(each)) for each in segments]

    def takes(self, name: Sequence[str]) -> bool:
        # whether the pattern, as far as it has been read, matches the first 0, 1, 2, ... segments of the name
        taken = [True, *(False for _ in name)]
        for segment in self._segments:
            if segment is None:
                taken = list(accumulate(taken, or_))
            else:
                one_more = zip(taken[:-1], name, strict=True)
                taken = [False, *(before and bool(segment.match(each)) for before, each in one_more)]
        return taken[-1]
