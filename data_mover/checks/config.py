"""The check of a deployment: its ini and registry, the secrets they name, and the services that it needs.

Checks create and change nothing.
"""

import os
from collections.abc import Iterator
from functools import partial
from getpass import getuser
from pathlib import Path

import plaster
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from data_mover.backends.options import HostOptions
from data_mover.config.callers import KnownCallers, load_callers
from data_mover.config.listening import Bounds, who_may_call
from data_mover.config.registry import Registry
from data_mover.config.registry_file import load_registry
from data_mover.config.settings import Settings, read_ini
from data_mover.domain.errors import ConfigurationError, Refusal
from data_mover.domain.findings import Finding, Lacking, find
from data_mover.domain.locations import Endpoint
from data_mover.domain.rights import EVERY_HOST
from data_mover.doorbell import redis_connection
from data_mover.store import migrations
from data_mover.store.audit_trail import first_broken_line
from data_mover.store.database import Database


def check_configuration(ini: str) -> Iterator[Finding]:
    """Yield every problem of ini and registry, even if both have some; then the findings on what they name."""
    try:
        settings = Settings.from_ini(ini)
    except ConfigurationError as error:
        yield from _problems("ini", error)
        yield from _check_registry_of_a_faulty(ini)
        return
    yield Finding("ini", True, f"{ini}: no problems")
    yield from _check_registry(settings.registry, settings)
    if settings.callers is not None:
        yield from _check_callers(settings.callers, settings)
    if settings.audit_path is not None:
        yield find("audit", partial(_look_at_audit, settings.audit_path))
    yield find("listen", partial(_look_at_listening, ini, settings.callers))
    yield find("state_dir", partial(_look_at_state_dir, settings.state_dir))
    yield find("database", partial(_look_at_database, settings, ini))
    yield find("redis", partial(_look_at_redis, settings))


def _problems(step: str, error: ConfigurationError) -> Iterator[Finding]:
    return (Finding(step, False, f"{error.file}: {problem}") for problem in error.problems)


def _check_registry_of_a_faulty(ini: str) -> Iterator[Finding]:
    try:
        path = read_ini(ini).get("data_mover.registry")
    except ConfigurationError:
        return
    if path:
        yield from _check_registry(Path(path), None)


def _check_registry(path: Path, settings: Settings | None) -> Iterator[Finding]:
    open_web, denied = (settings.open_web, settings.open_web_denied) if settings is not None else (False, ())
    try:
        registry = load_registry(path, open_web, denied)
    except ConfigurationError as error:
        yield from _problems("registry", error)
        return
    for problem in registry.problems:
        yield Finding("registry", False, f"{path}: {problem}")
    if not registry.problems:
        yield Finding("registry", True, f"{path}: no problems; {_counted(registry)}")
    if settings is not None and settings.default_destination is not None:
        yield find("destination", partial(_look_at_default_destination, settings.default_destination, registry))
    for name, options in registry.hosts.items():
        if any(options.login_files()) or any(options.secrets()):
            yield find("login", partial(_look_at_login, name, options))


def _check_callers(path: Path, settings: Settings) -> Iterator[Finding]:
    """Yield every problem of the callers' file, and what in it leads nowhere."""
    try:
        callers = load_callers(path)
        registry = load_registry(settings.registry, settings.open_web, settings.open_web_denied)
    except ConfigurationError as error:
        yield from _problems("callers", error)
        return
    unknown = [
        f"{path}: callers.{name}: {prefix} is not in the registry"
        for name, caller in callers.callers.items()
        for prefix in caller.rights.prefixes
        if prefix.host not in {EVERY_HOST, *registry.hosts}
    ]
    unknown += [
        f"{path}: callers.{name}: type:{each} is not in the registry"
        for name, caller in callers.callers.items()
        for each in sorted(caller.rights.types - registry.datasets.keys())
    ]
    unknown += [f"{path}: issuers.{name}.client_secret: {why}" for name, why in _unreadable_secrets(callers)]
    for sentence in unknown:
        yield Finding("callers", False, sentence)
    if not unknown:
        yield Finding("callers", True, f"{path}: no problems; {len(callers.callers)} callers")


def _unreadable_secrets(callers: KnownCallers) -> Iterator[tuple[str, str]]:
    """Yield the issuers with a secret that this user cannot read, each with the reason."""
    for name, issuer in callers.logins.items():
        try:
            if issuer.client_secret is not None:
                issuer.client_secret.read()
        except LookupError as error:
            yield name, str(error)


def _look_at_audit(path: Path) -> str:
    """Check that no line of the audit trail was changed or removed."""
    if not path.exists():
        return f"{path} will be made"
    try:
        broken = first_broken_line(path)
    except OSError as error:
        raise Lacking(f"data_mover.audit: {path} cannot be read: {error.strerror}") from error
    if broken is not None:
        raise Lacking(f"data_mover.audit: {path}: line {broken} does not carry the hash of the line before it")
    return f"{path}: every line carries the hash of the line before it"


def _counted(registry: Registry) -> str:
    def with_role(role: str) -> int:
        return sum(role in options.roles for options in registry.hosts.values())

    roles = f"{with_role('source')} to move from, {with_role('destination')} to move to"
    return f"{len(registry.hosts)} hosts ({roles}), {len(registry.datasets)} data types"


def _look_at_default_destination(destination: Endpoint, registry: Registry) -> str:
    try:
        registry.resolve_destination(destination)
    except Refusal as refusal:
        raise Lacking(f"data_mover.default_destination: {refusal.reason}") from refusal
    return f"{destination}, where moves go that name none"


def _look_at_login(host: str, options: HostOptions) -> str:
    """Check that the worker can read its credentials for the host, as far as they are on this machine."""
    out_of_reach = [f"hosts.{host}.{key}: {why}" for key, why in _out_of_reach(options)]
    if out_of_reach:
        raise Lacking("\n".join(out_of_reach))
    return f"{host}: its credentials can be read; `hosts check {host}` tries them"


def _out_of_reach(options: HostOptions) -> Iterator[tuple[str, str]]:
    for key, path in options.login_files():
        if not os.access(path, os.R_OK):
            yield key, f"the user {getuser()} cannot read {path}"
    for key, secret in options.secrets():
        try:
            secret.read()
        except LookupError as error:
            yield key, str(error)


def _look_at_listening(ini: str, callers: Path | None) -> str:
    try:
        server = plaster.get_settings(ini, "server:main")
        Bounds.of(server, ini)
        return who_may_call(server, ini, callers)
    except ConfigurationError as error:
        raise Lacking("\n".join(map(str, error.problems))) from error


def _look_at_state_dir(path: Path) -> str:
    if path.is_dir() and os.access(path, os.W_OK | os.X_OK):
        return f"{path} can be written"
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    if path.exists() or not os.access(existing, os.W_OK | os.X_OK):
        raise Lacking(f"data_mover.state_dir: the user {getuser()} cannot write in {existing}.")
    return f"{path} will be made"


def _look_at_database(settings: Settings, ini: str) -> str:
    """Check the database, without creating a file of SQLite: it would belong to the user of the check."""
    way_out = f"run: initialize_data_mover_db {ini}"
    try:
        url = settings.database_url()
    except ConfigurationError as error:
        raise Lacking(str(error.problems[0])) from error
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise Lacking(f"{settings.sqlalchemy_url} is not there yet; {way_out}")
    database = Database(url)
    try:
        newest = migrations.is_newest(database.engine)
    except DBAPIError as error:
        raise Lacking(
            f"{settings.sqlalchemy_url} does not answer: {error.orig}\nStart it, or correct sqlalchemy.url."
        ) from error
    finally:
        database.close()
    if not newest:
        raise Lacking(f"{settings.sqlalchemy_url}: the schema is missing or old; {way_out}")
    return f"{settings.sqlalchemy_url} answers, the schema is up to date"


def _look_at_redis(settings: Settings) -> str:
    try:
        with redis_connection(settings.redis_url, settings.redis_secret()) as connection:
            connection.ping()
    except ConfigurationError as error:
        raise Lacking(str(error.problems[0])) from error
    except RedisError as error:
        raise Lacking(
            f"{settings.redis_url} does not answer: {error}\nStart it (docs/how-to/redis.md), or correct redis.url."
        ) from error
    return f"{settings.redis_url} answers"
