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
    return _backend(PROTOCOLS[options.protocol]).connect(host, options)


def load_backends() -> None:
    """Imports every backend, so that processes forked afterwards need not."""
    for protocol in PROTOCOLS.values():
        _backend(protocol)


def _backend(protocol: Protocol) -> type[Files]:
    module, name = protocol.backend
    backend: type[Files] = getattr(importlib.import_module(module), name)
    return backend
