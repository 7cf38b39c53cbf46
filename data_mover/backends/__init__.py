"""The protocols that hosts speak: their names, what the registry may say of them, and their backends.

A backend is imported when the first host that needs it is opened, so that the web process never loads one.
"""

import importlib
from importlib.util import find_spec
from typing import NamedTuple

from data_mover.backends.api import Files, Source
from data_mover.backends.http.options import HttpOptions
from data_mover.backends.local.options import LocalOptions
from data_mover.backends.options import HostOptions
from data_mover.backends.s3.options import S3Options
from data_mover.backends.ssh.options import SshOptions
from data_mover.backends.webdav.options import WebdavOptions
from data_mover.domain.errors import NotAllowed


class Protocol(NamedTuple):
    options: type[HostOptions]
    #: module and class of the `Source` it opens with `connect(host, options)`
    backend: tuple[str, str]
    #: the library that it needs, and the extra of this package that brings it
    needs: tuple[str, str] | None = None

    def problem(self) -> str | None:
        """A sentence if what it needs is not installed, else None."""
        if self.needs is None or find_spec(self.needs[0]) is not None:
            return None
        library, extra = self.needs
        return f"needs {library}; run: pip install 'data_mover[{extra}]', or where buildout installs: ./bin/buildout"


PROTOCOLS: dict[str, Protocol] = {
    "sftp": Protocol(SshOptions, ("data_mover.backends.sftp.backend", "SftpFiles")),
    "scp": Protocol(SshOptions, ("data_mover.backends.scp.backend", "ScpFiles")),
    "local": Protocol(LocalOptions, ("data_mover.backends.local.backend", "LocalFiles")),
    "http": Protocol(HttpOptions, ("data_mover.backends.http.backend", "HttpSource")),
    "https": Protocol(HttpOptions, ("data_mover.backends.http.backend", "HttpSource")),
    "s3": Protocol(S3Options, ("data_mover.backends.s3.backend", "S3Files"), needs=("botocore", "s3")),
    "webdav": Protocol(WebdavOptions, ("data_mover.backends.webdav.backend", "WebdavFiles")),
}


def connect(host: str, options: HostOptions) -> Source:
    """A connection to the registered host. HostUnreachable, HostKeyMismatch, CertificateRefused or LoginRefused if
    there can be none.
    """
    return _backend(PROTOCOLS[options.protocol]).connect(host, options)


def load_backends() -> None:
    """Imports every backend that can be, so that processes forked afterwards need not."""
    for protocol in PROTOCOLS.values():
        if protocol.problem() is None:
            _backend(protocol)


def writable(source: Source) -> Files:
    """The connection, to a host where files can be written too. NotAllowed if they cannot."""
    if not isinstance(source, Files):
        raise NotAllowed(f"{source.host} is only a source")
    return source


def _backend(protocol: Protocol) -> type[Source]:
    module, name = protocol.backend
    backend: type[Source] = getattr(importlib.import_module(module), name)
    return backend
