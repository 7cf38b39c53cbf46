"""The callers' file: who may call, and what each caller may do. Of a token it has only the SHA-256."""

import hmac
import logging
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, time
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from data_mover.backends.options import ReadablePath, Secret, Size
from data_mover.domain.errors import ConfigProblem, ConfigurationError, Refusal
from data_mover.domain.locations import checked_path
from data_mover.domain.problems import problems_of
from data_mover.domain.rights import EVERY_HOST, EVERYTHING, OPERATOR_VERBS, USUAL_VERBS, PathPrefix, Rights, Verb
from data_mover.domain.secrets import SecretReference, private_text
from data_mover.domain.tokens import digest_of

log = logging.getLogger(__name__)

T = TypeVar("T", bound=BaseModel)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SECTIONS = ("callers", "issuers")
#: stands for the open web among the sources
_WEB = "web"
_TYPE = "type"
_OPERATE = "operate"
_CREATE, _REPLACE = "create", "replace"


@dataclass(frozen=True)
class Quota:
    """What a caller may use; None is no limit."""

    requests_per_second: float | None = None
    #: moves that wait, and moves that run
    queued: int | None = None
    running: int | None = None
    #: plans that wait
    plans: int | None = None
    files_per_move: int | None = None
    #: bytes of the moves of 24 hours
    bytes_per_day: int | None = None

    @classmethod
    def widest(cls, quotas: Iterable["Quota"]) -> "Quota":
        """Return a quota that allows what any of them does."""
        given = list(quotas)
        values = {each.name: [getattr(quota, each.name) for quota in given] for each in fields(cls)}
        return cls(**{name: None if None in found else max(found) for name, found in values.items()})


@dataclass(frozen=True)
class Caller:
    """A caller. Jobs belong to their caller."""

    name: str
    rights: Rights
    quota: Quota = field(default_factory=Quota)
    #: the scopes of its issuer that grant its rights, sorted, with spaces in between; None for a caller of the file
    scopes: str | None = None

    def may(self, verb: Verb) -> bool:
        return verb in self.rights.verbs

    @property
    def sees_only(self) -> str | None:
        """The name of the caller whose moves alone it sees; None if it sees all."""
        return None if self.may(Verb.SEE_ALL) else self.name

    def sees(self, name: str) -> bool:
        """Whether the caller may read the moves of the caller of this name."""
        return name == self.name or self.may(Verb.SEE_ALL)


#: the one caller of a deployment without a callers' file
LOCAL = Caller("local", EVERYTHING)


@dataclass(frozen=True)
class Token:
    """A token of a caller, as far as it is known."""

    caller: Caller
    sha256: str
    #: valid from the first instant on, and not any more from the second
    not_before: datetime | None
    expires: datetime | None
    #: lists of networks: an address that uses it is in one of each
    networks: tuple[Sequence[IPv4Network | IPv6Network], ...]

    def may_be_used(self, address: str | None, now: datetime) -> bool:
        is_valid = (self.not_before is None or self.not_before <= now) and (self.expires is None or now < self.expires)
        return is_valid and all(_is_in(address, networks) for networks in self.networks)


@dataclass(frozen=True)
class Issuer:
    """An issuer of OpenID Connect, and what its scopes grant."""

    name: str
    url: str
    audience: str
    #: which claim names the caller
    claim: str
    #: certificates to trust instead of the system's
    ca_file: Path | None
    scopes: Mapping[str, Caller]
    description: str = ""
    #: the client as which people log in to the pages; None if they do not
    client_id: str | None = None
    client_secret: SecretReference | None = None

    def caller_of(self, name: str, scopes: Iterable[str]) -> Caller | None:
        """Return a caller with what its scopes grant together; None if none of them grants anything."""
        known = sorted(self.scopes.keys() & set(scopes))
        if not known:
            return None
        granted = [self.scopes[scope] for scope in known]
        return Caller(
            f"{self.name}:{name}",
            rights=Rights.of_all(caller.rights for caller in granted),
            quota=Quota.widest(caller.quota for caller in granted),
            scopes=" ".join(known),
        )


#: how many moves of a caller may run, by its name and the scopes that a move was submitted with; None is no limit
RunningLimit = Callable[[str, str | None], int | None]


class Callers(Protocol):
    """Who may call."""

    def named(self, name: str, scopes: str | None) -> Caller | None:
        """Return the caller of that name, with the scopes that it had; None if there is none any more."""

    def running_limit(self) -> RunningLimit:
        """Return the limits that are in force now."""


class OnlyThisMachine:
    """Without a callers' file there is one caller, who may do everything."""

    def named(self, name: str, scopes: str | None) -> Caller | None:
        return Caller(name, EVERYTHING)

    def running_limit(self) -> RunningLimit:
        return lambda name, scopes: None


@dataclass(frozen=True)
class KnownCallers:
    """The callers of a file."""

    callers: Mapping[str, Caller]
    tokens: tuple[Token, ...]
    issuers: Mapping[str, Issuer] = field(default_factory=dict)

    @property
    def logins(self) -> Mapping[str, Issuer]:
        """The issuers at which people log in to the pages."""
        return {name: issuer for name, issuer in self.issuers.items() if issuer.client_id is not None}

    def named(self, name: str, scopes: str | None) -> Caller | None:
        if scopes is None:
            return self.callers.get(name)
        issuer, _, own_name = name.partition(":")
        return self.issuers[issuer].caller_of(own_name, scopes.split()) if issuer in self.issuers else None

    def most_running(self, name: str, scopes: str | None) -> int | None:
        """Return how many moves of the caller may run; None is no limit."""
        caller = self.named(name, scopes)
        return caller.quota.running if caller else None

    def authenticated(self, name: str | None, token: str, address: str | None, now: datetime) -> Token | None:
        """Return the token if it may be used from this address now, and is the named caller's if a name is given.

        Takes the same time whatever is wrong: every known token is compared, in full.
        """
        return self.token(name, digest_of(token), address, now)

    def token(self, name: str | None, digest: str, address: str | None, now: datetime) -> Token | None:
        """Return the token with this SHA-256, as `authenticated` does."""
        found = None
        for each in self.tokens:
            if hmac.compare_digest(each.sha256, digest):
                found = each
        is_right = found is not None and (name is None or found.caller.name == name)
        return found if found is not None and is_right and found.may_be_used(address, now) else None


class CallersFile:
    """The callers in their file, read again whenever the file changes."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError if the file cannot be used."""
        self._path = path
        self._version = self._file_version()
        self._callers = load_callers(path)

    def current(self) -> KnownCallers:
        """Return the callers of the newest valid file."""
        version = self._file_version()
        if version != self._version:
            self._version = version
            try:
                self._callers = load_callers(self._path)
                log.info("callers-read %s: %d callers", self._path, len(self._callers.callers))
            except ConfigurationError as error:
                for problem in error.problems:
                    log.error("callers-refused the old ones stay in force: %s: %s", self._path, problem)
        return self._callers

    def named(self, name: str, scopes: str | None) -> Caller | None:
        return self.current().named(name, scopes)

    def running_limit(self) -> RunningLimit:
        return self.current().most_running

    def _file_version(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mode, status.st_uid, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_private(url: str) -> bool:
    """Whether nobody can read or change what is sent to the URL on the way: by TLS, or within this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_local))


def callers_of(path: Path | None) -> CallersFile | OnlyThisMachine:
    """Return who may call. Raises ConfigurationError if there is a file that cannot be used."""
    return OnlyThisMachine() if path is None else CallersFile(path)


def load_callers(path: Path) -> KnownCallers:
    """Return the callers of the file. Raises ConfigurationError with every problem of it."""
    try:
        text = private_text(path)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _unusable(path, f"is not TOML: {error}") from error
    return parse_callers(text, path)


def parse_callers(text: str, path: Path) -> KnownCallers:
    """Return the callers of the text. Raises ConfigurationError with every problem of it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unusable(path, f"is not TOML: {error}") from error
    if not any(document.get(section) for section in _SECTIONS):
        raise _unusable(path, "names no caller; `data_mover callers add NAME` adds one")
    if not text.endswith("\n"):
        raise _unusable(path, "ends in the middle of a line: it is being written, or was cut off")
    problems = [
        ConfigProblem(key, f"unknown key; known: {', '.join(_SECTIONS)}") for key in document.keys() - set(_SECTIONS)
    ]
    entries = _valid(_Entry, document, "callers", problems)
    issuers = _valid(_IssuerTable, document, "issuers", problems)
    tokens = [token for name, entry in entries.items() for token in entry.tokens(name)]
    problems += _shared(tokens)
    if problems:
        raise ConfigurationError(str(path), problems)
    return KnownCallers(
        {name: entry.caller(name) for name, entry in entries.items()},
        tuple(tokens),
        {name: table.issuer_of(name) for name, table in issuers.items()},
    )


def _valid(kind: type[T], document: dict[str, Any], section: str, problems: list[ConfigProblem]) -> dict[str, T]:
    """Return the valid tables of a section by their names; append the problems of the others."""
    tables = document.get(section, {})
    if not isinstance(tables, dict):
        problems.append(ConfigProblem(section, f"must contain tables like [{section}.name]"))
        return {}
    valid = {}
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            problems.append(
                ConfigProblem(f"{section}.{name}", "a name has letters, digits, '.', '_' and '-', 63 at most")
            )
            continue
        try:
            valid[name] = kind.model_validate(table)
        except ValidationError as error:
            problems += problems_of(error, f"{section}.{name}")
    return valid


def _shared(tokens: Iterable[Token]) -> list[ConfigProblem]:
    """Return the problem of each token that two callers have."""
    owners, problems = dict[str, str](), []
    for token in tokens:
        owner = owners.setdefault(token.sha256, token.caller.name)
        if owner != token.caller.name:
            problems.append(ConfigProblem(f"callers.{token.caller.name}.token_sha256", f"callers.{owner} has it too"))
    return problems


def _unusable(path: Path, sentence: str) -> ConfigurationError:
    return ConfigurationError(str(path), [ConfigProblem("file", sentence)])


def _is_in(address: str | None, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether the address is in one of the networks. A request over a Unix socket has none."""
    try:
        number = ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(number, "ipv4_mapped", None)
    return any(each in network for each in (number, mapped) if each is not None for network in networks)


def _instant(value: Any) -> Any:
    """Return the instant of a date or time of TOML: a date stands for its last instant, in UTC."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("must say its time zone, like 2027-06-30T12:00:00Z, or be a date like 2027-06-30")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time.max, UTC)
    raise ValueError("must be a date like 2027-06-30, or a time like 2027-06-30T12:00:00Z, without quotes")


def _beginning(value: Any) -> Any:
    """Return the instant: a date stands for its first one."""
    is_date = isinstance(value, date) and not isinstance(value, datetime)
    return datetime.combine(value, time.min, UTC) if is_date else _instant(value)


def _networks(value: Any) -> Any:
    try:
        return tuple(ip_network(each) for each in value)
    except (TypeError, ValueError):
        raise ValueError('must be networks like ["192.0.2.0/24", "2001:db8::/32"]') from None


def _digest(value: str) -> str:
    if not _SHA256.fullmatch(value):
        raise ValueError("must be SHA-256 of a token, 64 hexadecimal digits in lower case, and never the token itself")
    if value == digest_of(""):
        raise ValueError("is the SHA-256 of an empty token")
    return value


def _prefix(text: Any) -> PathPrefix:
    """Return the prefix of `host:/prefix/` or `*`. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("must be text like host:/prefix/")
    if text == EVERY_HOST:
        return PathPrefix(EVERY_HOST)
    host, colon, path = text.partition(":")
    if not colon or not _NAME.fullmatch(host) or not path.startswith("/"):
        raise ValueError(f"'{text}' must be host:/prefix/, or * for all hosts")
    try:
        return PathPrefix(host, checked_path(path, "path"))
    except Refusal as refusal:
        raise ValueError(f"'{text}': {refusal.reason}") from None


def _verbs(value: Any) -> Any:
    known = [*Verb, _OPERATE]
    if not isinstance(value, list) or any(each not in known for each in value):
        raise ValueError(f"must be a list of {', '.join(known)}")
    usual = {Verb(each) for each in value if each != _OPERATE}
    return frozenset(usual | OPERATOR_VERBS if _OPERATE in value else usual)


Digest = Annotated[str, AfterValidator(_digest)]
LastInstant = Annotated[datetime, BeforeValidator(_instant)]
FirstInstant = Annotated[datetime, BeforeValidator(_beginning)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
Verbs = Annotated[frozenset[Verb], BeforeValidator(_verbs)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


class _TokenTable(_Table):
    """One token with terms of its own, which narrow those of its caller."""

    #: SHA-256 of the token, in hexadecimal
    sha256: Digest
    #: its last day, or instant
    expires: LastInstant | None = None
    #: its first day, or instant
    not_before: FirstInstant | None = None
    #: from where requests with it may come
    networks: Networks | None = None
    #: the verbs of its caller that it has
    verbs: Verbs | None = None


class _QuotaTable(_Table):
    #: requests, each call of a multicall counted, per web process; a second's worth may come at once. Beyond: 429
    #: with `Retry-After`; on XML-RPC its body is the fault -32029
    requests_per_second: float | None = Field(default=None, gt=0)
    #: moves that wait. Beyond: refused, code `quota`
    queued: int | None = Field(default=None, ge=0)
    #: moves that run. Beyond: they wait; `explain` says `quota`
    running: int | None = Field(default=None, ge=1)
    #: plans that wait for their answers; 20 in any case. Beyond: refused, code `quota`
    plans: int | None = Field(default=None, ge=0)
    #: files and directories that the sources of a move show. Beyond: it fails `too-large`
    files_per_move: int | None = Field(default=None, ge=1)
    #: bytes that completed moves have brought in 24 hours, by whole hours: `"2TB"`. Beyond: refused, code `quota`
    bytes_per_day: Size | None = None


class _Destination(_Table):
    at: Annotated[PathPrefix, BeforeValidator(_prefix)]
    may: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_rights(self) -> Self:
        if unknown := set(self.may) - {_CREATE, _REPLACE}:
            raise ValueError(f"may: '{min(unknown)}' is unknown; known: {_CREATE}, {_REPLACE}")
        if _CREATE not in self.may:
            raise ValueError(f"may: whoever may replace has to create, too; write {_CREATE}, {_REPLACE}")
        return self


def _token(value: Any) -> Any:
    return {"sha256": value} if isinstance(value, str) else value


def _destination(value: Any) -> Any:
    return {"at": value, "may": [_CREATE, _REPLACE]} if isinstance(value, str) else value


class _Grant(_Table):
    """Rights and quotas as the file has them."""

    #: `move`, `plan`, `check`, `cancel`, `retry`; `see-all` and `act-all` (read, cancel and retry the moves of
    #: every caller), `hosts` (see, pause and resume every host); `operate` is these three
    verbs: Verbs = USUAL_VERBS
    #: what it may read: `host:/prefix/`, `type:NAME` (whatever that data type leads to), `web` (servers that the
    #: registry does not name, if `data_mover.open_web`), `*` (everything)
    sources: list[str] = []
    #: where it may create files and replace them: `host:/prefix/`, or `*`; `{ at = "host:/prefix/", may =
    #: ["create"] }` where it may replace nothing: a file that is there fails the move with the code `exists`
    destinations: list[Annotated[_Destination, BeforeValidator(_destination)]] = []
    #: its [quotas](#quotas)
    quota: _QuotaTable = _QuotaTable()

    @model_validator(mode="after")
    def _right_names(self) -> Self:
        for each in self.sources:
            if each != _WEB and not each.startswith(f"{_TYPE}:"):
                _prefix(each)
        return self

    def caller(self, name: str) -> Caller:
        everything = EVERY_HOST in self.sources
        rights = Rights(
            verbs=self.verbs,
            sources=tuple(_prefix(each) for each in self.sources if each != _WEB and not _names_type(each)),
            types=frozenset(each.partition(":")[2] for each in self.sources if _names_type(each)),
            web=everything or _WEB in self.sources,
            creates=tuple(each.at for each in self.destinations),
            replaces=tuple(each.at for each in self.destinations if _REPLACE in each.may),
        )
        return Caller(name, rights, Quota(**self.quota.model_dump()))


class _Entry(_Grant):
    """A caller as the file has it."""

    #: for people
    description: str = ""
    #: a list: SHA-256 of a token in hexadecimal, or a table with `sha256` and terms of its own, which narrow its
    #: caller and never widen it
    token_sha256: list[Annotated[_TokenTable, BeforeValidator(_token)]] = []
    #: the last day on which its tokens are valid (UTC), or an instant like `2027-06-30T12:00:00Z`
    expires: LastInstant | None = None
    #: the first such day, or instant
    not_before: FirstInstant | None = None
    #: from where its requests may come: `["192.0.2.0/24", "2001:db8::/32"]`
    networks: Networks | None = None

    @model_validator(mode="after")
    def _narrowed_by_tokens(self) -> Self:
        for token in self.token_sha256:
            if token.verbs is not None and not token.verbs <= self.verbs:
                raise ValueError("token_sha256: a token may narrow its caller and has a verb that the caller lacks")
        return self

    def tokens(self, name: str) -> list[Token]:
        caller = self.caller(name)
        return [
            Token(
                caller=_narrowed(caller, token.verbs),
                sha256=token.sha256,
                not_before=max(filter(None, (self.not_before, token.not_before)), default=None),
                expires=min(filter(None, (self.expires, token.expires)), default=None),
                networks=tuple(each for each in (self.networks, token.networks) if each is not None),
            )
            for token in self.token_sha256
        ]


def _names_type(source: str) -> bool:
    return source.startswith(f"{_TYPE}:")


def _narrowed(caller: Caller, verbs: frozenset[Verb] | None) -> Caller:
    return caller if verbs is None else replace(caller, rights=replace(caller.rights, verbs=verbs))


class _IssuerTable(_Table):
    """An issuer of OpenID Connect as the file has it."""

    #: for people
    description: str = ""
    #: its URL, exactly as its tokens have it in `iss`; its keys are found by discovery
    issuer: str
    #: what its tokens for this service have in `aud`; no wildcard
    audience: str = Field(min_length=1)
    #: the claim that names the caller, who is called `campus:NAME` here
    caller: str = Field(default="sub", min_length=1)
    #: certificates to trust for the issuer, instead of the system's
    ca_file: ReadablePath | None = None
    #: the client as which people log in to the page at this issuer, by the authorization code flow with PKCE; without
    #: it the issuer's tokens are for programs alone
    client_id: str | None = Field(default=None, min_length=1)
    #: where the secret of this client is, if it is a confidential one: `env:NAME`, `file:/path` or `credential:NAME`
    client_secret: Secret | None = None
    #: for each scope what a caller has: `verbs`, `sources`, `destinations` and `quota`. Several scopes grant together,
    #: and of their quotas the widest counts
    scopes: dict[str, _Grant] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_trusted(self) -> Self:
        if not is_private(self.issuer):
            raise ValueError('issuer: must be a URL like "https://login.example.org/realms/campus"')
        if "*" in self.audience:
            raise ValueError("audience: must be the one name that tokens for this service have; * is none")
        if self.client_secret is not None and self.client_id is None:
            raise ValueError("client_secret: is the secret of a client, which client_id names")
        return self

    def issuer_of(self, name: str) -> Issuer:
        scopes = {scope: grant.caller(scope) for scope, grant in self.scopes.items()}
        return Issuer(
            name=name,
            url=self.issuer,
            audience=self.audience,
            claim=self.caller,
            ca_file=self.ca_file,
            scopes=scopes,
            description=self.description,
            client_id=self.client_id,
            client_secret=self.client_secret,
        )
