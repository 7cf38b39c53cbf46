"""Hosts that speak SFTP."""

from data_mover.backends.protocol import Protocol
from data_mover.backends.ssh.options import SshOptions

PROTOCOL = Protocol(
    SshOptions, backend="data_mover.backends.sftp.backend:SftpFiles", check="data_mover.backends.ssh.check:SshCheck"
)
