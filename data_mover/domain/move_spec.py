"""The specification of a move: in the row of a job and in a plan request alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from data_mover.domain.locations import Endpoint, IfExists
from data_mover.domain.selection import Selection


@dataclass(frozen=True)
class MoveSpec:
    """What a move has to do, on hosts of the registry."""

    sources: tuple[Endpoint, ...]
    destination: Endpoint
    #: SHA-256 that the caller says the source has
    checksum: str | None
    selection: Selection
    if_exists: IfExists
    #: the sources as the caller wrote them: a struct or a list of them; None if that is not known
    asked: Any
    #: the scopes by which a caller of OpenID Connect had its rights; None for any other
    scopes: str | None

    @classmethod
    def from_struct(cls, struct: Mapping[str, Any]) -> Self:
        return cls(
            sources=tuple(Endpoint(**source) for source in struct["sources"]),
            destination=Endpoint(**struct["destination"]),
            checksum=struct["checksum"],
            selection=Selection.from_struct(struct["selection"]),
            if_exists=IfExists(struct["if_exists"]),
            asked=struct.get("asked"),
            scopes=struct.get("scopes"),
        )

    def as_struct(self) -> dict[str, Any]:
        return {
            "sources": [source.as_struct() for source in self.sources],
            "destination": self.destination.as_struct(),
            "checksum": self.checksum,
            "selection": self.selection.as_struct(),
            "if_exists": self.if_exists.value,
            "asked": self.asked,
            "scopes": self.scopes,
        }

    @property
    def host_names(self) -> frozenset[str]:
        return frozenset({self.destination.host, *(source.host for source in self.sources)})

    @property
    def route(self) -> str:
        """Sources and destination, for display."""
        others = f" and {len(self.sources) - 1} more" if self.sources[1:] else ""
        return f"source={self.sources[0]}{others} destination={self.destination}"
