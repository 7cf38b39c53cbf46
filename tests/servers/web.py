"""A web server that shows files as nginx does, and fails at some paths as it is asked to."""

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.processes import LOOPBACK

PIECE_BYTES = 64 * 1024
#: newer Pythons trust no authority that does not say so
_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass
class WebServer:
    """A running server."""

    port: int
    #: of its authority; None without TLS
    ca_file: Path | None
    #: handlers of paths that are no files
    faults: dict[str, "Fault"] = field(default_factory=dict)
    #: path and query, and the fields, of every request
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    #: set at the end, so that no answer waits for longer
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def scheme(self) -> str:
        return "https" if self.ca_file else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{LOOPBACK}:{self.port}"

    def options(self, root: Path | str = "/", **more: Any) -> dict[str, Any]:
        """Return its entry in a registry: it shows every file of this machine."""
        table = {"protocol": self.scheme, "address": LOOPBACK, "port": self.port, "root": str(root)}
        ca_file = {"ca_file": str(self.ca_file)} if self.ca_file else {}
        return {**table, "roles": ["source"], **ca_file, **more}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.web.requests.append((self.path, dict(self.headers)))
        with suppress(ConnectionError, TimeoutError):
            self.server.web.faults.get(path, show_file)(self)

    def do_PROPFIND(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_MOVE(self) -> None:
        self.do_GET()

    def answer(self, status: int, body: bytes = b"", **fields: object) -> None:
        """With underscores for dashes; a Content-Length of None is left out."""
        fields = {"Content_Length": len(body), **fields}
        self.send_response(status)
        for name, value in fields.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The requests are on record."""


Fault = Callable[[Handler], None]


def show_file(handler: Handler) -> None:
    """Answer with the file, or with the requested end of it."""
    path = Path(unquote(urlsplit(handler.path).path))
    if not path.is_file():
        return handler.answer(404, b"no such file, but a page about it")
    with path.open("rb") as file:
        status = path.stat()
        etag = f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
        size, offset = status.st_size, 0
        fields: dict[str, Any] = {"ETag": etag, "Last_Modified": formatdate(status.st_mtime, usegmt=True)}
        wanted = handler.headers.get("Range")
        if wanted and handler.headers.get("If-Range") in (None, etag):
            offset = int(wanted.removeprefix("bytes=").removesuffix("-"))
            fields["Content_Range"] = f"bytes {offset}-{size - 1}/{size}"
        handler.answer(206 if offset else 200, Content_Length=size - offset, **fields)
        left = size - offset
        file.seek(offset)
        while left and (piece := file.read(min(left, PIECE_BYTES))):
            handler.wfile.write(piece)
            left -= len(piece)
    handler.close_connection = handler.close_connection or left > 0
    return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    web: WebServer

    def handle_error(self, *_: object) -> None:
        """Clients may leave, and refuse certificates."""


@contextmanager
def web_server(directory: Path, tls: bool = False, named: str = LOOPBACK, ends_in_days: int = 1) -> Iterator[WebServer]:
    """A server on a free port of the loopback address, with a certificate for `named` from an authority of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    with _Server((LOOPBACK, 0), Handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(make_certificates(directory, named, ends_in_days))
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.web = WebServer(server.server_address[1], directory / "ca.pem" if tls else None)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.web
        finally:
            server.web.ended.set()
            server.shutdown()
            thread.join()


def make_certificates(directory: Path, named: str, ends_in_days: int = 1) -> Path:
    """An authority's certificate in `ca.pem`; a key and its certificate for the name in the file that is returned."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("tests", authority_key.public_key(), "tests", authority_key, None, 1)
    certificate = _certificate(named, key.public_key(), "tests", authority_key, named, ends_in_days)
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(authority.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.pem").write_bytes(private + certificate.public_bytes(pem))
    return directory / "server.pem"


def _certificate(subject, public_key, issuer, issuer_key, named, ends_in_days):
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=ends_in_days))
        .add_extension(x509.BasicConstraints(ca=named is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if named is None:
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(named)]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _general_name(named: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(named))
    except ValueError:
        return x509.DNSName(named)
