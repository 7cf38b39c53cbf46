"""Which files a move of folders takes, what they must be, and how they appear."""

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
    """What becomes of symbolic links within a folder."""

    #: they are left out
    SKIP = "skip"
    #: what they lead to is moved instead
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
        segments = name.split("/")
        return not self.match or any(pattern.takes(segments) for pattern in self._patterns)

    @cached_property
    def _patterns(self) -> list["_Pattern"]:
        return [_Pattern(text) for text in self.match]


class _Pattern:
    """`*` and `?` do not cross a slash, `**` between slashes stands for any number of segments, at the end for one at
    least; hidden files are files, and case counts.

    Each segment of a name is compared with each of the pattern once at most: callers write the patterns, and what tries
    all ways of dividing a name among several `**` does not end.
    """

    def __init__(self, text: str) -> None:
        segments = text.split("/")
        if segments[-1] == "**":
            segments.append("*")
        self._segments = [None if each == "**" else re.compile(fnmatch.translate(each)) for each in segments]

    def takes(self, name: Sequence[str]) -> bool:
        # whether the pattern, as far as it has been read, stands for the first 0, 1, 2, ... segments of the name
        taken = [True, *(False for _ in name)]
        for segment in self._segments:
            if segment is None:
                taken = list(accumulate(taken, or_))
            else:
                one_more = zip(taken[:-1], name, strict=True)
                taken = [False, *(before and bool(segment.match(each)) for before, each in one_more)]
        return taken[-1]
