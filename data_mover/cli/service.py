"""The service that the options before the command name, and how its errors end a command."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from data_mover.cli.options import GlobalOptions
from data_mover.client import Client, ClientError, MoveFailed, NotAllowed, NotAuthenticated, Rejected
from data_mover.domain.printable import printable

#: the exit statuses; 0 is done and proven
FAILED, REFUSED, TIMED_OUT, NOT_ALLOWED, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 4, 5, 130


@dataclass(frozen=True)
class Service:
    """A service at a URL, and the file of the caller's token."""

    url: str
    token_file: Path | None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yield a client. Ends the command with the exit status of the client's error."""
        try:
            with Client(self.url, self._token()) as client:
                yield client
        except ClientError as error:
            end(str(error), _status_of(error))
        except TimeoutError as error:
            end(f"{error}; the move continues", TIMED_OUT)
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    def command(self, *words: object) -> str:
        """Return a command line for the same service, to be copied into a shell."""
        token = ["--token-file", self.token_file] if self.token_file else []
        return shlex.join(map(str, ["data_mover", "--url", self.url, *token, *words]))

    def _token(self) -> str | None:
        if self.token_file is None:
            return os.environ.get("DATA_MOVER_TOKEN")
        try:
            return self.token_file.read_text().strip()
        except OSError as error:
            raise click.UsageError(f"--token-file: {error.strerror}") from error


def chosen_service() -> Service:
    """Return the service at --url, or the one of the ini. Raises UsageError if there is neither."""
    options: GlobalOptions = click.get_current_context().obj
    if options.url is not None:
        return Service(options.url, options.token_file)
    if options.ini is None:
        raise click.UsageError("say which service: data_mover --url https://host ..., or $DATA_MOVER_URL")
    return Service(_url_of(options.ini), options.token_file)


def end(sentence: str, status: int) -> NoReturn:
    click.echo(printable(sentence), err=True)
    sys.exit(status)


def _url_of(ini: str) -> str:
    """Return the URL at which the service of the ini listens for programs of this machine."""
    import plaster

    from data_mover.config.listening import local_address  # with pydantic, which callers need not wait for

    if not Path(ini).is_file():
        raise click.UsageError(f"there is no file {ini}")
    socket, url = local_address(plaster.get_settings(ini, "server:main"))
    return f"unix:{socket}" if socket else url


def _status_of(error: ClientError) -> int:
    if isinstance(error, Rejected):
        return REFUSED
    if isinstance(error, NotAuthenticated | NotAllowed):
        return NOT_ALLOWED
    return FAILED if isinstance(error, MoveFailed) else UNAVAILABLE
