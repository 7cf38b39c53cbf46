"""`data_mover init`: writes the ini, the registry and the callers' file of a new deployment."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import click

from data_mover.checks.config import check_configuration
from data_mover.checks.report import Check
from data_mover.cli.callers import NewToken, add_caller
from data_mover.cli.initialize_db import make_schema
from data_mover.cli.options import GlobalOptions
from data_mover.cli.output import print_json
from data_mover.cli.settings import checked
from data_mover.config.callers import parse_callers
from data_mover.config.listening import who_may_call
from data_mover.config.registry_file import parse_registry
from data_mover.config.settings import Settings
from data_mover.domain.child_environment import script

INI, REGISTRY, CALLERS = "data_mover.ini", "registry.toml", "callers.toml"
#: the file that the first move can take
HELLO = "hello.txt"

NEXT = """
Next, each in a terminal of its own, or all under a supervisor (docs/how-to/install.md):
  {pserve} {ini}
  {command} -c {ini} worker
  {command} -c {ini} sweep
Then the first move{token}:
  {command} -c {ini} move source:/{file} destination:/ --wait"""


@dataclass(frozen=True)
class Prompt:
    """What a new deployment needs to be known of it: an option, and the text by which a terminal asks for it."""

    option: str
    text: str
    #: by the directory of the deployment; "" stands for none
    default: Callable[[Path], str]


PROMPTS = (
    Prompt("database", "URL of the database", lambda _: "sqlite:///%(here)s/data_mover.db"),
    Prompt("redis", "URL of Redis", lambda _: "redis://127.0.0.1:6379/0"),
    Prompt("listen", "Where the service listens", lambda _: "127.0.0.1:6543"),
    Prompt("source", "A directory to move files from", lambda directory: str(directory / "source")),
    Prompt("destination", "A directory to move files to", lambda directory: str(directory / "destination")),
    Prompt("caller", "Name of the first caller; without one, programs of this machine call", lambda _: ""),
)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--database", help="URL of the database; a file of SQLite in DIRECTORY if left out.")
@click.option("--database-password", help="Where its password is: file:/path, env:NAME or credential:NAME.")
@click.option("--redis", help="URL of Redis; the default port of this machine if left out.")
@click.option("--redis-password", help="Where its password is.")
@click.option("--listen", help="Where the service listens; 127.0.0.1:6543 if left out.")
@click.option("--source", help="A directory to move files from; made if it is missing.")
@click.option("--destination", help="A directory to move files to; made if it is missing.")
@click.option("--caller", help="A first caller, who gets a token. Without one, programs of this machine may call.")
@click.pass_obj
def init(options: GlobalOptions, /, directory: Path, **given: str | None) -> None:
    """Write ini, registry and callers' file of a new deployment into DIRECTORY, and make its database.

    On a terminal, asks for what is left out, except for passwords; elsewhere takes the defaults. Overwrites nothing.
    Run it as the user of the service. Ends with status 1 if the result has a problem that check-config finds.
    """
    directory = directory.absolute()
    _require_absent(directory)
    answers = {name: value or "" for name, value in given.items()}
    answers |= {prompt.option: _answer(prompt, given[prompt.option], directory) for prompt in PROMPTS}
    texts = _texts(directory, answers)
    _write(directory, texts)
    has_hello = _make_roots(answers)
    own = replace(options, ini=str(directory / INI))
    token = add_caller(own, answers["caller"], sources=["*"], destinations=["*"]) if answers["caller"] else None
    _try_to_make_schema(own.required_ini)
    passed = _report(own, directory, token)
    if not options.as_json:
        _say_what_is_next(own.required_ini, token, HELLO if has_hello else "FILE")
    if not passed:
        raise SystemExit(1)


def _answer(prompt: Prompt, given: str | None, directory: Path) -> str:
    default = prompt.default(directory)
    if given is None and sys.stdin.isatty():
        answer: str = click.prompt(prompt.text, default=default, err=True, show_default=bool(default))
        return answer
    return default if given is None else given


def _texts(directory: Path, answers: Mapping[str, str]) -> dict[str, str]:
    """Return the files by name. Ends the command, with every problem, if Data Mover would refuse them."""
    callers = directory / CALLERS if answers["caller"] else None
    values = {
        "ini": shlex.quote(str(directory / INI)),
        "database": _for_ini(answers["database"]),
        "redis": _for_ini(answers["redis"]),
        "database_mark": "" if answers["database_password"] else "# ",
        "database_secret": answers["database_password"] or "file:/etc/data_mover/database-password",
        "redis_mark": "" if answers["redis_password"] else "# ",
        "redis_secret": answers["redis_password"] or "file:/etc/data_mover/redis-password",
        "callers": f"%(here)s/{CALLERS}" if callers else "none",
        "listen": answers["listen"],
        "source_root": _for_toml(answers["source"]),
        "destination_root": _for_toml(answers["destination"]),
    }
    templates = files("data_mover.cli") / "templates"
    texts = {name: Template((templates / name).read_text("utf-8")).substitute(values) for name in (INI, REGISTRY)}
    checked(partial(parse_registry, path=directory / REGISTRY, open_web=False), texts[REGISTRY])
    if callers:
        checked(partial(parse_callers, path=callers), _sample_caller(answers["caller"]))
    checked(partial(who_may_call, ini=str(directory / INI), callers=callers), {"listen": answers["listen"]})
    checked(Settings.from_mapping, _settings(directory, answers))
    return texts


def _sample_caller(name: str) -> str:
    """Return a callers' file that has a problem if the name has one."""
    return f'[callers.{json.dumps(name)}]\ntoken_sha256 = ["{"0" * 64}"]\n'


def _settings(directory: Path, answers: Mapping[str, str]) -> dict[str, str]:
    """Return what the ini says, as far as somebody could have answered something that cannot be used."""
    secrets = {"sqlalchemy.password": answers["database_password"], "redis.password": answers["redis_password"]}
    return {
        "sqlalchemy.url": answers["database"].replace("%(here)s", str(directory)),
        "redis.url": answers["redis"],
        **{key: secret for key, secret in secrets.items() if secret},
        "data_mover.registry": str(directory / REGISTRY),
        "data_mover.callers": "none",
        "data_mover.state_dir": str(directory / "state"),
    }


def _require_absent(directory: Path) -> None:
    found = [name for name in (INI, REGISTRY, CALLERS) if (directory / name).exists()]
    if found:
        raise click.ClickException(f"{directory} has {', '.join(found)} already; nothing was written")


def _write(directory: Path, texts: Mapping[str, str]) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in texts.items():
            with (directory / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}") from error


def _make_roots(answers: Mapping[str, str]) -> bool:
    """Make the directories that are missing; return whether there is a file for the first move."""
    source = Path(answers["source"])
    is_new = not source.exists()
    try:
        for root in (source, Path(answers["destination"])):
            root.mkdir(parents=True, exist_ok=True)
        if is_new:
            (source / HELLO).write_text("Hello from Data Mover.\n", "utf-8")
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be made: {error.strerror}") from error
    return is_new


def _try_to_make_schema(ini: str) -> None:
    try:
        make_schema(ini)
    except click.ClickException as error:
        click.echo(f"The database could not be made yet: {error.message}", err=True)


def _report(options: GlobalOptions, directory: Path, token: NewToken | None) -> bool:
    """Print what was written and what check-config finds; return whether it finds no problem."""
    ini, registry, callers = (directory / name for name in (INI, REGISTRY, CALLERS))
    if not options.as_json:
        passed = options.show_checks([Check(f"{ini} and {registry}, written anew", check_configuration(str(ini)))])
        if token:
            click.echo(token.token)
            click.echo(token.advice, err=True)
        return passed
    problems = [finding.sentence for finding in check_configuration(str(ini)) if not finding.passed]
    print_json(
        {
            "ini": str(ini),
            "registry": str(registry),
            "callers": str(callers) if token else None,
            "caller": token.struct() if token else None,
            "problems": problems,
        }
    )
    return not problems


def _say_what_is_next(ini: str, token: NewToken | None, file: str) -> None:
    with_token = ", with the token in $DATA_MOVER_TOKEN" if token else ""
    command, pserve = shlex.quote(script("data_mover")), shlex.quote(script("pserve"))
    click.echo(NEXT.format(command=command, pserve=pserve, ini=shlex.quote(ini), token=with_token, file=file), err=True)


def _for_ini(value: str) -> str:
    return value.replace("%", "%%").replace("%%(here)s", "%(here)s")


def _for_toml(value: Any) -> str:
    """Return the text as it stands between quotes in TOML, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False)[1:-1]
