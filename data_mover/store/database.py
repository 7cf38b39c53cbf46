"""The database: the engine, sessions that read or write, and the one clock that all processes share."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    MetaData,
    create_engine,
    event,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, registry, sqlite
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.sql.functions import FunctionElement

from data_mover.domain.errors import ServiceUnavailable

#: time-out of SQLite's lock, of connecting to PostgreSQL and of its statements
BUSY_TIMEOUT_SECONDS = 5
#: time-out of a migration, also while it waits for another one
LONG_TRANSACTION_SECONDS = 3600
#: an arbitrary key for PostgreSQL's advisory lock
_LONG_TRANSACTION_LOCK = 7_236_282

#: of PostgreSQL: for a statement, for a lock, and for a client that is idle in a transaction
_SERVER_TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

#: of an index SQLite looks at so many rows, which takes milliseconds however many there are
_ANALYSED_ROWS = 400
#: what is known of smaller tables is forgotten: they may have grown, and be read as a whole, before anybody looks again
_FEW_ROWS = 1_000

#: after so long SQLite begins anew to ask for a lock
_ASK_AGAIN_MS = 10
#: the bits of SQLite's error codes without what extends them
_PRIMARY_CODE = 0xFF


class Base(DeclarativeBase):
    """The tables of Data Mover."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class _NowMs(FunctionElement[int]):
    type = BigInteger()
    inherit_cache = True


def now_ms() -> ColumnElement[int]:
    """Return the time by the database's clock, in milliseconds since the epoch."""
    return _NowMs()


_NOW_MS = select(_NowMs())


def read_now_ms(session: Session) -> int:
    """Return the time at which the session has asked for it first."""
    if "now_ms" not in session.info:
        session.info["now_ms"] = session.connection().scalars(_NOW_MS).one()
    return int(session.info["now_ms"])


def ms(seconds: float) -> int:
    """Return a duration as the columns have it; everywhere else durations are seconds."""
    return int(seconds * 1000)


@compiles(_NowMs, "sqlite")
def _now_ms_sqlite(element: _NowMs, compiler: Any, **options: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


@compiles(_NowMs, "postgresql")
def _now_ms_postgresql(element: _NowMs, compiler: Any, **options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


class Database:
    """Sessions on one database. Make it after a fork, not before: processes cannot share connections."""

    def __init__(self, url: URL) -> None:
        self.engine, self.writing_engine = _engines(url)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session that only reads. Raises ServiceUnavailable if the database does not answer."""
        with mapping_errors(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield a session that commits at the end of the block, or rolls back if the block raises.

        On SQLite it is the only writer from its first statement on. Raises ServiceUnavailable if the database does not
        answer; a commit may or may not have taken effect then.
        """
        with mapping_errors(), self.writer() as session, session.begin():
            yield session

    def writer(self) -> Session:
        """Return a session that writes. Who asks for it commits, closes it, and maps its errors (`mapping_errors`)."""
        return Session(self.writing_engine, expire_on_commit=False)

    def optimize(self) -> None:
        """Has SQLite look at its tables, so that it knows which index finds the least; PostgreSQL does so by itself
        (docs/decisions/0030-sqlite-learns-of-large-tables.md).

        Raises ServiceUnavailable where the database does not answer.
        """
        if self.engine.dialect.name == "sqlite":
            with mapping_errors(), self.writing_engine.begin() as connection:
                connection.exec_driver_sql(f"PRAGMA analysis_limit={_ANALYSED_ROWS}")
                connection.exec_driver_sql("ANALYZE")
                connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE CAST(stat AS INTEGER) < ?", (_FEW_ROWS,))
                connection.exec_driver_sql("ANALYZE sqlite_schema")  # reads again what is left

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def long_transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection for a long write: a migration. Concurrent callers block.

    Raises OperationalError if the database does not answer. Closes the connection at the end, since its time-outs
    differ from those of all others.
    """
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        connection.detach()
        if engine.dialect.name == "sqlite":
            driver.execute(f"pragma busy_timeout={LONG_TRANSACTION_SECONDS * 1000}").close()
        else:
            driver.answer_timeout_seconds = LONG_TRANSACTION_SECONDS
        with connection.begin():
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("ROLLBACK")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                for timeout in _SERVER_TIMEOUTS:
                    connection.exec_driver_sql(f"SET LOCAL {timeout} = {LONG_TRANSACTION_SECONDS * 1000}")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LONG_TRANSACTION_LOCK})")
            yield connection


def insert_if_absent(session: Session, table: type[Base], values: dict[str, Any]) -> int | None:
    """Insert a row unless it would break a unique constraint, atomically in one statement.

    Returns the new row's primary key, or None if there was such a row already.
    """
    return session.connection().scalars(_insert_if_absent(session.get_bind().dialect.name, table), values).one_or_none()


@cache
def _insert_if_absent(dialect: str, table: type[Base]) -> Executable:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return (
        insert(Base.metadata.tables[table.__tablename__])
        .on_conflict_do_nothing()
        .returning(*inspect(table).primary_key)
    )


def insert_or_update(
    session: Session, table: type[Base], values: dict[str, Any], unique: Sequence[str], changes: dict[str, Any]
) -> int:
    """Insert a row, or make the changes to the one that has the same values in the unique columns: in one statement, so
    that the row cannot be deleted in between. Returns its id."""
    dialect = session.get_bind().dialect.name
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = insert(table).values(values).on_conflict_do_update(index_elements=unique, set_=changes)
    row_id: int = session.scalars(statement.returning(*inspect(table).primary_key)).one()
    return row_id


@contextmanager
def mapping_errors() -> Iterator[None]:
    """Map connection errors to ServiceUnavailable; re-raise the errors of statements."""
    try:
        yield
    except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
        raise ServiceUnavailable("the database does not answer") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise ServiceUnavailable("the connection to the database broke") from error
        if type(error) is DatabaseError:  # SQLite's error for a damaged file, or one that is no database
            raise ServiceUnavailable("the database cannot be read") from error
        raise


class _Sqlite(SQLiteDialect_pysqlite):
    """SQLite whose transactions begin when SQLAlchemy says so. A listener on the engine would do, too, but SQLAlchemy
    would then look for listeners several times with each statement."""

    supports_statement_cache = True
    begin = "BEGIN"

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin. Readers never wait for writers."""
        with closing(dbapi_connection.cursor()) as cursor:
            cursor.execute(self.begin)


class _WritingSqlite(_Sqlite):
    """Locks the database at once: a transaction that has read first could not."""

    supports_statement_cache = True
    begin = "BEGIN IMMEDIATE"

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin once nobody else writes. Raises OperationalError once the connection's busy time-out is over.

        SQLite asks for a lock less and less often, ten times a second in the end, and whoever comes later is faster: of
        ten writers that never rested, some waited for more than 5 s. So it begins anew every few milliseconds.
        """
        with closing(dbapi_connection.cursor()) as cursor:
            [longest_ms] = cursor.execute("PRAGMA busy_timeout").fetchone()
            until = time.monotonic() + longest_ms / 1000
            cursor.execute(f"PRAGMA busy_timeout={_ASK_AGAIN_MS}")
            try:
                while not self._has_begun(cursor, until):
                    pass
            finally:
                cursor.execute(f"PRAGMA busy_timeout={longest_ms}")

    def _has_begun(self, cursor: sqlite3.Cursor, until: float) -> bool:
        """Return whether the lock was free. Raises OperationalError if it is too late."""
        try:
            cursor.execute(self.begin)
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= until:
                raise
            return False
        return True


registry.register("sqlite.reading", __name__, _Sqlite.__name__)
registry.register("sqlite.writing", __name__, _WritingSqlite.__name__)


def _engines(url: URL) -> tuple[Engine, Engine]:
    """Return an engine that reads and one that writes, on the same connections."""
    if url.get_backend_name() == "sqlite":
        reading = create_engine(
            url.set(drivername="sqlite+reading"), connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, hide_parameters=True
        )
        event.listen(reading, "do_connect", lambda *_: _keep_private(url))
        event.listen(reading, "connect", _prepare_sqlite)
        writing = create_engine(url.set(drivername="sqlite+writing"), pool=reading.pool, hide_parameters=True)
        return reading, writing
    from data_mover.store.postgresql import Connector  # its driver is installed only where PostgreSQL is used

    milliseconds = BUSY_TIMEOUT_SECONDS * 1000
    connect_args = {
        "application_name": "data_mover",
        "connect_timeout": BUSY_TIMEOUT_SECONDS,
        "tcp_user_timeout": milliseconds,
        "options": " ".join(f"-c {timeout}={milliseconds}" for timeout in _SERVER_TIMEOUTS),
    }
    engine = create_engine(
        url, connect_args=connect_args, pool_pre_ping=True, pool_timeout=BUSY_TIMEOUT_SECONDS, hide_parameters=True
    )
    event.listen(engine, "do_connect", Connector().connect)
    return engine, engine


def _keep_private(url: URL) -> None:
    """Create SQLite's file, or restrict it, with access for its owner alone; SQLite gives the files beside it the same
    mode. A file of another user is left to SQLite, which raises what fails."""
    if url.database in (None, "", ":memory:"):
        return
    path = str(url.database)
    with suppress(OSError):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:  # closing it would release every lock that this process has on it
            if os.stat(path).st_mode & 0o077:
                for name in (path, f"{path}-wal", f"{path}-shm"):
                    with suppress(FileNotFoundError):
                        os.chmod(name, 0o600)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    """Turn off pysqlite's own transactions: they begin too late to prevent lost updates between processes."""
    connection.isolation_level = None
    for pragma in ("journal_mode=wal", "synchronous=full", "foreign_keys=on"):
        connection.execute(f"pragma {pragma}").close()
