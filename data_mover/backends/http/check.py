"""The check of a web server: whether it answers, its certificate, the login."""

from collections.abc import Sequence
from functools import partial
from getpass import getuser

from data_mover.backends.check import HostCheck
from data_mover.backends.http.backend import HttpSource
from data_mover.backends.http.options import HttpOptions
from data_mover.domain.errors import HttpLoginRefused, LoginRefused, MoveFailure
from data_mover.domain.findings import Step, advised


class HttpCheck(HostCheck):
    """The check of a web server, which has no root to enter."""

    def log_in(self) -> Sequence[Step]:
        options = self.options
        if not isinstance(options, HttpOptions):
            return ()
        steps: list[Step] = [("connection", partial(_meet, self.host, options))]
        if any(options.secrets()):
            steps.append(("login", partial(_show_login, self.host, options)))
        return steps


def _meet(host: str, options: HttpOptions) -> str:
    is_proven = options.protocol == "https"
    answers = f"{options.origin} answers"
    if is_proven:
        answers += f", with a certificate that {options.ca_file or 'this machine'} trusts"
    with (
        advised(MoveFailure, f"See that {answers}" + (", or correct `ca_file`." if is_proven else ".")),
        advised(LoginRefused, f"See that the user {getuser()} can read what the registry names for the login."),
    ):
        HttpSource.connect(host, options).close()
    return answers


def _show_login(host: str, options: HttpOptions) -> str:
    """Request the root. An answer that is no file does not disprove the login; nor does 403, if the server lists no
    directories."""
    keys = ", ".join(f"`{key}`" for key, _ in options.secrets())
    with advised(HttpLoginRefused, f"See that {keys} of the registry is what the server wants."):
        try:
            with HttpSource.connect(host, options) as source:
                source.stat("/")
        except MoveFailure as failure:
            if failure.retryable or isinstance(failure, HttpLoginRefused):
                raise
            if failure.code == "http-403":
                return "403 at the root: the server lists no directories, or does not let this login in"
    return f"with {keys}, which is not refused at the root"
