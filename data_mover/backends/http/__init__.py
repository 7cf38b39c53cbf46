"""Web servers, which are sources only."""

from data_mover.backends.http.options import HttpOptions
from data_mover.backends.protocol import Protocol

PROTOCOL = Protocol(
    HttpOptions, backend="data_mover.backends.http.backend:HttpSource", check="data_mover.backends.http.check:HttpCheck"
)
