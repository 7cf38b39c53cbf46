"""Record when tokens are used, beside the requests: none of them writes to the database for that."""

import logging
import threading
import time

from data_mover.config.callers import Token
from data_mover.domain.errors import ServiceUnavailable
from data_mover.store import token_uses
from data_mover.store.database import Database
from data_mover.store.token_uses import LastUse

log = logging.getLogger(__name__)

#: how long a use waits for its record
WAIT_SECONDS = 10.0


class TokenUses:
    """Collects uses in memory, and records the last one of each token every few seconds, in a thread of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changing = threading.Lock()
        self._uses = dict[str, LastUse]()
        self._thread: threading.Thread | None = None

    def used(self, token: Token, address: str | None) -> None:
        """Note a use."""
        use = LastUse(token.sha256, token.caller.name, int(time.time() * 1000), address)
        with self._changing:
            self._uses[token.sha256] = use
            if self._thread is None:
                self._thread = threading.Thread(target=self._record_soon, name="token uses", daemon=True)
                self._thread.start()

    def _record_soon(self) -> None:
        """Record what comes together within a while. The next use begins another thread."""
        time.sleep(WAIT_SECONDS)
        with self._changing:
            uses, self._uses, self._thread = self._uses, {}, None
        try:
            with self._database.writing() as session:
                token_uses.record(session, uses.values())
        except ServiceUnavailable as error:
            log.warning("token-uses-not-recorded %s", error)
