"""Hosts that speak scp and run commands."""

from data_mover.backends.protocol import Protocol
from data_mover.backends.ssh.options import SshOptions

PROTOCOL = Protocol(
    SshOptions, backend="data_mover.backends.scp.backend:ScpFiles", check="data_mover.backends.ssh.check:SshCheck"
)
