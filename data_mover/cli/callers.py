"""`data_mover callers`: add, list, rotate and remove the callers of the callers' file."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import tomlkit
from tomlkit.exceptions import TOMLKitError

from data_mover.cli.options import GlobalOptions
from data_mover.cli.output import Column, print_json, table_of
from data_mover.cli.settings import checked, read_settings, record_command
from data_mover.config.callers import Caller, Token, load_callers, parse_callers
from data_mover.config.settings import Settings
from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.rights import Verb
from data_mover.domain.secrets import private_text
from data_mover.domain.tokens import digest_of, new_token
from data_mover.store import token_uses
from data_mover.store.database import Database
from data_mover.store.token_uses import LastUse

#: how long a new token is valid, unless something else is said
VALID_DAYS = 90
#: how long the tokens before it stay valid
KEPT_DAYS = 7
_HEADER = "Who may call Data Mover: docs/reference/callers.md. Of a token this file has only the SHA-256."


#: the table of the callers; each row is as `callers list` prints it as JSON
_COLUMNS: dict[str, Column] = {
    "caller": "name",
    "may": lambda row: ", ".join(row["verbs"]),
    "sources": "sources",
    "destinations": lambda row: [
        f"{each['at']}{'' if each['replace'] else ' (create)'}" for each in row["destinations"]
    ],
    "token": lambda row: [each["sha256"][:8] for each in row["tokens"]],
    "ends": lambda row: [each["expires"] or "never" for each in row["tokens"]],
    "used last": lambda row: [_shown_use(each) for each in row["tokens"]],
}


@dataclass(frozen=True)
class NewToken:
    """A token that was made just now: nothing but this has it."""

    caller: str
    token: str
    last_day: date

    @property
    def advice(self) -> str:
        return (
            f"This is the token of {self.caller}, valid through {self.last_day}. Keep it now: the callers' file has "
            "only its SHA-256. The service knows it at once."
        )

    def struct(self) -> dict[str, str]:
        return {"name": self.caller, "token": self.token, "expires": self.last_day.isoformat()}


def add_caller(
    options: GlobalOptions, name: str, *, days: int = VALID_DAYS, description: str = "", **lists: Sequence[str]
) -> NewToken:
    """Add a caller to the callers' file of the ini, which is made if it is missing; return its token. `lists` are the
    options of `callers add` that may be repeated. Ends the command with every problem."""
    path = _path(options)
    document = _document(path)
    table = document.setdefault("callers", tomlkit.table(is_super_table=True))
    if name in table:
        raise click.ClickException(
            f"{path}: there is a caller {name} already; `callers rotate {name}` gives a new token"
        )
    token = NewToken(name, new_token(name), _last_day(days))
    table[name] = _entry(token, description, lists)
    _write(path, document)
    _record(options, "callers add", name)
    return token


@click.group()
def callers() -> None:
    """Manage who may call: the file that data_mover.callers names."""


@callers.command("add")
@click.argument("name")
@click.option(
    "--source", "sources", multiple=True, help="host:/prefix/, type:NAME, web, or * for all; may be repeated."
)
@click.option("--destination", "destinations", multiple=True, help="host:/prefix/ to write to, or *; may be repeated.")
@click.option("--create", "creates", multiple=True, help="A destination where nothing may be replaced; repeatable.")
@click.option("--verb", "verbs", multiple=True, help="What it may do; the usual five if left out; repeatable.")
@click.option("--network", "networks", multiple=True, help="Where its requests come from, like 192.0.2.0/24.")
@click.option("--days", default=VALID_DAYS, show_default=True, help="How long its token is valid.")
@click.option("--description", default="", help="For whoever reads the file.")
@click.pass_obj
def add(options: GlobalOptions, /, name: str, days: int, description: str, **lists: Sequence[str]) -> None:
    """Add the caller NAME, and print its token: this once, for only the SHA-256 is kept."""
    _print_token(options, add_caller(options, name, days=days, description=description, **lists))


@callers.command("list")
@click.pass_obj
def list_(options: GlobalOptions) -> None:
    """List the callers, their rights, and when each token ends and was used last."""
    settings = read_settings(options.required_ini)
    known = checked(load_callers, _required(settings))
    uses = _last_uses(settings)
    rows = [
        _row(caller, [each for each in known.tokens if each.caller.name == name], uses)
        for name, caller in known.callers.items()
    ]
    options.show(rows, table_of(rows, _COLUMNS))


@callers.command("rotate")
@click.argument("name")
@click.option("--days", default=VALID_DAYS, show_default=True, help="How long the new token is valid.")
@click.option("--keep", default=KEPT_DAYS, show_default=True, help="For how many days the old ones stay valid.")
@click.pass_obj
def rotate(options: GlobalOptions, name: str, days: int, keep: int) -> None:
    """Give the caller NAME a new token, and print it. The old ones stay valid for some days."""
    path = _path(options)
    document = _document(path)
    entry = _required_entry(document, name, path)
    last_day, today = _last_day(keep), datetime.now(UTC)
    old = [token for token in checked(load_callers, path).tokens if token.caller.name == name]
    written = {_digest(each): each for each in entry.get("token_sha256", [])}
    kept = [
        _ending(written[token.sha256], token, last_day)
        for token in old
        if keep > 0 and (token.expires is None or token.expires > today)
    ]
    token = NewToken(name, new_token(name), _last_day(days))
    entry["token_sha256"] = _array([_with_end(digest_of(token.token), token.last_day), *kept])
    entry.pop("expires", None)  # each token has its own now
    _write(path, document)
    _record(options, "callers rotate", name)
    _print_token(options, token)
    for each in kept:
        click.echo(f"The token {_digest(each)[:8]}... ends with {each['expires']}.", err=True)


@callers.command("remove")
@click.argument("name")
@click.pass_obj
def remove(options: GlobalOptions, name: str) -> None:
    """Remove the caller NAME: its tokens end now, and its moves that wait fail."""
    path = _path(options)
    document = _document(path)
    _required_entry(document, name, path)
    if len(document["callers"]) == 1:
        raise click.ClickException(f"{path}: {name} is the last caller; a file without one is refused")
    document["callers"].pop(name)
    _write(path, document)
    _record(options, "callers remove", name)
    if options.as_json:
        print_json({"name": name})
    click.echo(f"{name} is no longer known; its moves that wait fail with the code not-allowed", err=True)


def _record(options: GlobalOptions, command: str, name: str) -> None:
    settings = read_settings(options.required_ini)
    checked(Settings.make_state_dir, settings)
    record_command(settings, command, name)


def _path(options: GlobalOptions) -> Path:
    return _required(read_settings(options.required_ini))


def _required(settings: Settings) -> Path:
    if settings.callers is None:
        raise click.ClickException(
            "data_mover.callers = none: only this machine may call. Name a file there, like "
            "data_mover.callers = /etc/data_mover/callers.toml; this command creates it"
        )
    return settings.callers


def _document(path: Path) -> tomlkit.TOMLDocument:
    """Return the file, or a new one. Ends the command if it cannot be read."""
    try:
        return tomlkit.parse(private_text(path))
    except FileNotFoundError:
        document = tomlkit.document()
        document.add(tomlkit.comment(_HEADER))
        document.add(tomlkit.nl())
        return document
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise click.ClickException(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _required_entry(document: tomlkit.TOMLDocument, name: str, path: Path) -> Any:
    known = document.get("callers", {})
    if name not in known:
        raise click.ClickException(f"{path}: there is no caller {name}; known: {', '.join(known) or 'none'}")
    return known[name]


def _entry(token: NewToken, description: str, lists: Mapping[str, Sequence[str]]) -> Any:
    entry = tomlkit.table()
    if description:
        entry["description"] = description
    entry["token_sha256"] = _array([_with_end(digest_of(token.token), token.last_day)])
    for key in ("networks", "verbs"):
        if lists.get(key):
            entry[key] = list(lists[key])
    entry["sources"] = list(lists.get("sources", ()))
    entry["destinations"] = _array([*lists.get("destinations", ()), *map(_create_only, lists.get("creates", ()))])
    return entry


def _create_only(destination: str) -> Any:
    table = tomlkit.inline_table()
    table.update({"at": destination, "may": ["create"]})
    return table


def _with_end(digest: str, last_day: date) -> Any:
    table = tomlkit.inline_table()
    table.update({"sha256": digest, "expires": last_day})
    return table


def _ending(written: Any, token: Token, last_day: date) -> Any:
    """Return an old token that ends on the day, or earlier if it does so already."""
    table = tomlkit.inline_table()
    terms = dict(written) if isinstance(written, dict) else {"sha256": token.sha256}
    ends = min(last_day, token.expires.date()) if token.expires else last_day
    table.update({**terms, "expires": ends})
    return table


def _array(items: Sequence[Any]) -> Any:
    array = tomlkit.array()
    array.extend(items)
    return array.multiline(len(items) > 1)


def _digest(written: Any) -> str:
    return str(written["sha256"] if isinstance(written, dict) else written)


def _last_day(days: int) -> date:
    return datetime.now(UTC).date() + timedelta(days=days)


def _write(path: Path, document: tomlkit.TOMLDocument) -> None:
    """Replace the file by the document, in one step. Ends the command with every problem, and leaves the file."""
    text = tomlkit.dumps(document)
    checked(lambda text: parse_callers(text, path), text)
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # for this user alone
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and os.geteuid() == 0:
            os.chown(name, path.stat().st_uid, path.stat().st_gid)
        os.replace(name, path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error


def _print_token(options: GlobalOptions, token: NewToken) -> None:
    if options.as_json:
        print_json(token.struct())
    else:
        click.echo(token.token)
    click.echo(token.advice, err=True)


def _last_uses(settings: Settings) -> dict[str, LastUse]:
    """Return the last uses, none if the database does not answer."""
    database = Database(checked(Settings.database_url, settings))
    try:
        with database.reading() as session:
            return token_uses.last_uses(session)
    except ServiceUnavailable as error:
        click.echo(f"{error}: it is not known when tokens were used", err=True)
        return {}
    finally:
        database.close()


def _row(caller: Caller, tokens: Sequence[Token], uses: dict[str, LastUse]) -> dict[str, Any]:
    rights = caller.rights
    sources = [*map(str, rights.sources), *(f"type:{each}" for each in sorted(rights.types))]
    return {
        "name": caller.name,
        "verbs": [each.value for each in Verb if each in rights.verbs],
        "sources": [*sources, *(["web"] if rights.web and "*" not in sources else [])],
        "destinations": [{"at": str(each), "replace": each in rights.replaces} for each in rights.creates],
        "tokens": [_token_struct(token, uses.get(token.sha256)) for token in tokens],
    }


def _token_struct(token: Token, use: LastUse | None) -> dict[str, Any]:
    used = datetime.fromtimestamp(use.used_ms / 1000, UTC).isoformat(timespec="seconds") if use else None
    return {
        "sha256": token.sha256,
        "expires": token.expires.date().isoformat() if token.expires else None,
        "used_at": used,
        "used_from": use.address if use else None,
    }


def _shown_use(token: dict[str, Any]) -> str:
    if token["used_at"] is None:
        return "never"
    return f"{token['used_at'][:16].replace('T', ' ')} from {token['used_from'] or 'this machine'}"
