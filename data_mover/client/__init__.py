"""A client of the service for Python programs. Independent: `pip install data-mover-client`."""

from data_mover.client.errors import (
    ClientError,
    MoveFailed,
    NotAllowed,
    NotAuthenticated,
    Rejected,
    ServiceUnavailable,
)
from data_mover.client.moves import Client, Move

__all__ = [
    "Client",
    "ClientError",
    "Move",
    "MoveFailed",
    "NotAllowed",
    "NotAuthenticated",
    "Rejected",
    "ServiceUnavailable",
]
