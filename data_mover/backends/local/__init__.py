"""Local directories."""

from data_mover.backends.local.options import LocalOptions
from data_mover.backends.protocol import Protocol

PROTOCOL = Protocol(LocalOptions, backend="data_mover.backends.local.backend:LocalFiles")
