"""The protocols of hosts: a folder and a line here for each.

A folder has all parts of its protocol: the registry's options of a host (`options`), the connection (`backend`) and the
check of a host (`check`).
"""

from data_mover.backends import http, local, s3, scp, sftp, webdav
from data_mover.backends.api import Files, Source
from data_mover.backends.check import HostCheck
from data_mover.backends.options import HostOptions
from data_mover.backends.protocol import Protocol
from data_mover.domain.errors import NotAllowed

PROTOCOLS: dict[str, Protocol] = {
    "sftp": sftp.PROTOCOL,
    "scp": scp.PROTOCOL,
    "local": local.PROTOCOL,
    "http": http.PROTOCOL,
    "https": http.PROTOCOL,
    "s3": s3.PROTOCOL,
    "webdav": webdav.PROTOCOL,
}


def connect(host: str, options: HostOptions) -> Source:
    """Return a connection to the registered host. Raises HostUnreachable, HostKeyMismatch, CertificateRefused or
    LoginRefused.
    """
    return PROTOCOLS[options.protocol].load_backend().connect(host, options)


def check_of(protocol: object) -> type[HostCheck]:
    """Return the check of a protocol, which may be unknown."""
    known = PROTOCOLS.get(protocol) if isinstance(protocol, str) else None
    return known.load_check() if known and known.problem() is None else HostCheck


def load_backends() -> None:
    """Import every installed backend, so that processes forked afterwards need not."""
    for protocol in PROTOCOLS.values():
        if protocol.problem() is None:
            protocol.load_backend()


def writable(source: Source) -> Files:
    """Return the connection as one that can write files. Raises NotAllowed if it cannot."""
    if not isinstance(source, Files):
        raise NotAllowed(f"{source.host} is only a source")
    return source
