"""The protocols that hosts speak: their names, what the registry may say of them, and their backends.

A backend is imported when the first host that needs it is opened, so that the web process never loads one.
"""

import importlib
from typing import NamedTuple

from data_mover.protocols.base import Files
from data_mover.protocols.options import HostOptions, LocalOptions, SshOptions


class Protocol(NamedTuple):
    options: type[HostOptions]
    #: module and class of the `Files` it opens with `connect(host, options)`
    backend: tuple[str, str]


PROTOCOLS: dict[str, Protocol] = {
    "sftp": Protocol(SshOptions, ("data_mover.protocols.sftp", "SftpFiles")),
    "scp": Protocol(SshOptions, ("data_mover.protocols.scp", "ScpFiles")),
    "local": Protocol(LocalOptions, ("data_mover.protocols.local", "LocalFiles")),
}


def connect(host: str, options: HostOptions) -> Files:
    """A connection to the registered host. HostUnreachable, HostKeyMismatch or LoginRefused if there can be none."""
    module, name = PROTOCOLS[options.protocol].backend
    backend: type[Files] = getattr(importlib.import_module(module), name)
    return backend.connect(host, options)
