"""The check of a WebDAV server: its address and certificate, the login."""

from collections.abc import Sequence
from functools import partial

from data_mover.backends.check import HostCheck
from data_mover.backends.webdav.backend import WebdavFiles
from data_mover.backends.webdav.options import WebdavOptions
from data_mover.domain.errors import CertificateRefused, HostUnreachable, LoginRefused
from data_mover.domain.findings import Step, advised


class WebdavCheck(HostCheck):
    """Logs in as the registry says, which may be without a login."""

    def log_in(self) -> Sequence[Step]:
        options = self.options
        return [("login", partial(_sign_in, self.host, options))] if isinstance(options, WebdavOptions) else ()


def _sign_in(host: str, options: WebdavOptions) -> str:
    with (
        advised(LoginRefused, "See that `bearer`, or `username` and `password` are right."),
        advised(
            CertificateRefused, "See that `endpoint` has the name in the certificate, or name its authority: `ca_file`."
        ),
        advised(
            HostUnreachable,
            f"See that the server is up, that {options.endpoint} is right, and that no firewall is in the way.",
        ),
    ):
        WebdavFiles.connect(host, options).close()
    return f"at {options.endpoint}, {_identity(options)}"


def _identity(options: WebdavOptions) -> str:
    if options.password:
        return f"as {options.username}, with the password from {options.password}"
    return f"with the token from {options.bearer}" if options.bearer else "without a login"
