"""The protocols that hosts speak, a folder and a line each.

A folder holds all that belongs to its protocol: what the registry may say of a host (`options`), the connection
(`backend`) and what else can be wrong with such a host (`check`).
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
    """A connection to the registered host. Raises HostUnreachable, HostKeyMismatch, CertificateRefused or LoginRefused
    if there can be none.
    """
    return PROTOCOLS[options.protocol].load_backend().connect(host, options)


def check_of(protocol: object) -> type[HostCheck]:
    """The check of a protocol as the registry names it, right or wrong."""
    known = PROTOCOLS.get(protocol) if isinstance(protocol, str) else None
    return known.load_check() if known and known.problem() is None else HostCheck


def load_backends() -> None:
    """Imports every backend that can be, so that processes forked afterwards need not."""
    for protocol in PROTOCOLS.values():
        if protocol.problem() is None:
            protocol.load_backend()


def writable(source: Source) -> Files:
    """The connection, to a host where files can be written too. Raises NotAllowed if they cannot."""
    if not isinstance(source, Files):
        raise NotAllowed(f"{source.host} is only a source")
    return source
