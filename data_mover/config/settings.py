"""The settings of a deployment: the ini's `[app:main]` as one frozen value that every process reads."""

import configparser
import errno
import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Self

import plaster
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from data_mover.domain.errors import ConfigProblem, ConfigurationError, Refusal
from data_mover.domain.locations import Endpoint, parse_short_endpoint
from data_mover.domain.problems import problems_of
from data_mover.domain.secrets import SecretReference

#: no job lives longer
LONGEST_DEADLINE_SECONDS = 7 * 24 * 3600

_OURS = ("data_mover.", "sqlalchemy.", "redis.")


def _database_url(value: str) -> str:
    try:
        url = make_url(value)
    except ArgumentError:
        raise ValueError("must be a database URL like sqlite:////path/file.db or postgresql://user@host/name") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError("must be a database of SQLite or PostgreSQL")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("must name a file: processes cannot share a database in memory")
    if url.password is not None or "password" in url.query:
        raise ValueError("must not contain a password; write it as sqlalchemy.password = env:NAME or file:/path")
    return value


def _redis_url(value: str) -> str:
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be a URL like redis://127.0.0.1:6379/0 or unix:///run/redis.sock")
    if "@" in value or "password=" in value:
        raise ValueError("must not contain a password; write it as redis.password = env:NAME or file:/path")
    return value


def _networks(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tuple(ip_network(each) for each in value.split())
    except ValueError:
        raise ValueError("must be networks like 192.0.2.0/24 2001:db8::/32, with spaces in between") from None


def _secret(value: Any) -> Any:
    secret = SecretReference.parse(value) if isinstance(value, str) else value
    if isinstance(secret, SecretReference) and (problem := secret.problem()):
        raise ValueError(problem)
    return secret


def _endpoint(value: Any) -> Any:
    try:
        return parse_short_endpoint(value, "data_mover.default_destination") if isinstance(value, str) else value
    except Refusal as refusal:
        raise ValueError(refusal.reason) from None


def _callers(value: Any) -> Any:
    if value == "":
        raise ValueError("must be the path of the callers' file, or none: only this machine may call then")
    return None if value == "none" else value


Secret = Annotated[SecretReference, BeforeValidator(_secret)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]


class Settings(BaseModel):
    """One deployment. Every knob has a default; the aliases are the keys of the ini."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    #: the database: `sqlite:////path/file.db`, or `postgresql://user@host/name` where several machines share the
    #: work
    sqlalchemy_url: Annotated[str, AfterValidator(_database_url)] = Field(alias="sqlalchemy.url")
    #: where its password is: `env:NAME`, `file:/path` or `credential:NAME` (systemd)
    sqlalchemy_password: Secret | None = Field(None, alias="sqlalchemy.password")
    #: `redis://127.0.0.1:6379/0` or `unix:///run/redis.sock`
    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(alias="redis.url")
    #: where its password is
    redis_password: Secret | None = Field(None, alias="redis.password")
    #: the path of the registry
    registry: Path = Field(alias="data_mover.registry")
    #: the path of the [callers' file](callers.md), or `none`: only programs on this machine are served
    callers: Annotated[Path | None, BeforeValidator(_callers)] = Field(alias="data_mover.callers")
    #: the file of the [audit trail](../how-to/add-a-caller.md#the-audit-trail); without it, `audit.jsonl` in the
    #: state directory, if there is a callers' file
    audit: Path | None = Field(None, alias="data_mover.audit")
    #: where `move('species', 12)` goes: `visualizer:/path/` or a URL
    default_destination: Annotated[Endpoint, BeforeValidator(_endpoint)] | None = Field(
        None, alias="data_mover.default_destination"
    )
    #: a directory for files of unknown length while they are moved; made, for this user alone, if it does not
    #: exist
    state_dir: Path = Field(alias="data_mover.state_dir")
    #: how long a job may take unless its caller says otherwise; 604800 at most
    deadline_seconds: int = Field(86_400, alias="data_mover.deadline_seconds", ge=1, le=LONGEST_DEADLINE_SECONDS)
    #: how many files and directories the sources of one move, or of a plan, may show, whether `options.match`
    #: takes them or not; beyond, or more than 200 directories deep, it fails `too-large`
    max_files: int = Field(1_000_000, alias="data_mover.max_files", ge=1)
    #: how often in a row a job may fail without getting further (a later checkpoint, or another file that arrived)
    #: before it is `FAILED`
    max_attempts: int = Field(5, alias="data_mover.max_attempts", ge=1, le=1000)
    #: the wait before the second attempt; it doubles with each further one, and half of it is random
    retry_first_seconds: float = Field(5, alias="data_mover.retry_first_seconds", ge=0, le=3600)
    #: the longest such wait
    retry_longest_seconds: float = Field(600, alias="data_mover.retry_longest_seconds", ge=0, le=86_400)
    #: how many bytes are copied between two checkpoints, from which another attempt can resume; 67108864 at most
    checkpoint_bytes: int = Field(32 * 2**20, alias="data_mover.checkpoint_bytes", ge=1, le=2**26)
    #: how long a host that cannot be reached is left alone at most before it is tried again; the waits grow from
    #: `retry_first_seconds`
    probe_longest_seconds: float = Field(30, alias="data_mover.probe_longest_seconds", ge=0, le=3600)
    #: an attempt whose lease its worker has not renewed for so long loses its job
    lease_seconds: float = Field(30, alias="data_mover.lease_seconds", gt=0, le=3600)
    #: how often a worker renews the leases of its jobs and records their progress
    beat_seconds: float = Field(2, alias="data_mover.beat_seconds", gt=0, le=600)
    #: the interval of the sweeper
    sweep_seconds: float = Field(5, alias="data_mover.sweep_seconds", gt=0, le=600)
    #: how long the work-horse of a woken worker claims jobs and listens for further ones; then it ends, and the
    #: next one is forked
    claim_on_seconds: float = Field(60, alias="data_mover.claim_on_seconds", ge=0, le=3600)
    #: if one host or one caller has all workers, two at least, and another's move has waited so long, the slowest
    #: of the running moves goes back to the queue, to resume later where it was; that costs no attempt
    give_way_seconds: float = Field(60, alias="data_mover.give_way_seconds", gt=0, le=86_400)
    #: how long a worker that is asked to stop runs its job before it hands the job back; that costs no attempt
    stop_seconds: float = Field(5, alias="data_mover.stop_seconds", ge=0, le=86_400)
    #: whether moves may read from web servers that the registry does not name, if their addresses are public. All
    #: of these servers together count as one host: no more than 4 transfers read from them at a time, and slow
    #: ones delay the others
    open_web: bool = Field(False, alias="data_mover.open_web")
    #: networks that the open web does not lead to although their addresses are public, with spaces in between:
    #: `192.0.2.0/24 2001:db8::/32`. Name those of your own campus. The addresses of this machine's own interfaces
    #: are refused in any case; one that a router translates to this machine is not known to it and belongs here
    open_web_denied: Networks = Field((), alias="data_mover.open_web_denied")
    #: for tests only: lets `$DATA_MOVER_FAULTS` make processes die at named points;
    #: [how](../explanation/guarantees.md#how-to-run-the-proof)
    fault_points: bool = Field(False, alias="data_mover.fault_points")

    @field_validator("beat_seconds")
    @classmethod
    def _often_enough(cls, value: float, info: ValidationInfo) -> float:
        lease_seconds = info.data.get("lease_seconds", value * 3)
        if value * 3 > lease_seconds:
            raise ValueError(f"must be at most a third of data_mover.lease_seconds, which is {lease_seconds:g}")
        return value

    @classmethod
    def from_ini(cls, ini: str) -> Self:
        """Return the settings of the ini's `[app:main]`. Raises ConfigurationError, listing every problem."""
        return cls.from_mapping(read_ini(ini), ini)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any], ini: str = "[app:main]") -> Self:
        """Return the settings, without the keys of other packages. Raises ConfigurationError."""
        ours = {key: value for key, value in settings.items() if key.startswith(_OURS)}
        try:
            return cls.model_validate(ours)
        except ValidationError as error:
            raise ConfigurationError(ini, problems_of(error)) from None

    @property
    def audit_path(self) -> Path | None:
        """The file of the audit trail, None if there is none."""
        return self.audit or (self.state_dir / "audit.jsonl" if self.callers else None)

    def database_url(self) -> URL:
        """Return the URL with the password, for the engine only. Raises ConfigurationError if it cannot be read."""
        url = make_url(self.sqlalchemy_url)
        return (
            url.set(password=_read("sqlalchemy.password", self.sqlalchemy_password))
            if self.sqlalchemy_password
            else url
        )

    def redis_secret(self) -> str | None:
        """Return the Redis password. Raises ConfigurationError if it cannot be read."""
        return _read("redis.password", self.redis_password) if self.redis_password else None

    def make_state_dir(self) -> Path:
        """Create the state directory for this user alone; return it. Raises ConfigurationError."""
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.state_dir, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "it cannot be written")
        except OSError as error:
            problem = ConfigProblem("data_mover.state_dir", f"{self.state_dir} cannot be used: {error.strerror}")
            raise ConfigurationError("[app:main]", [problem]) from error
        return self.state_dir


def read_ini(ini: str) -> Mapping[str, Any]:
    """Return the ini's `[app:main]` as it is written. Raises ConfigurationError if there is none."""
    if not Path(ini).is_file():
        raise ConfigurationError(ini, [ConfigProblem("file", "there is no such file")])
    try:
        settings: Mapping[str, Any] = plaster.get_loader(ini, protocols=["wsgi"]).get_wsgi_app_settings("main")
    except (LookupError, ValueError, configparser.Error) as error:
        raise ConfigurationError(ini, [ConfigProblem("[app:main]", f"cannot be read: {error}")]) from error
    return settings


def _read(key: str, secret: SecretReference) -> str:
    try:
        return secret.read()
    except LookupError as error:
        raise ConfigurationError("[app:main]", [ConfigProblem(key, str(error))]) from error
