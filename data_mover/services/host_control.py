"""The use cases of operators: to pause a host and to resume it."""

from data_mover.config.callers import Caller
from data_mover.config.registry_file import RegistryFile
from data_mover.domain.errors import Refusal
from data_mover.services.audit import RequestAudit
from data_mover.services.transactions import Transactions
from data_mover.store import host_health


class HostControl:
    """Pauses and resumes hosts of the registry. Raises ServiceUnavailable if the database does not answer."""

    def __init__(self, transactions: Transactions, registry: RegistryFile, audit: RequestAudit) -> None:
        self._transactions = transactions
        self._audit = audit
        self._registry = registry

    def pause(self, caller: Caller, name: str) -> None:
        """Pause the host: its moves wait, running ones continue. Raises Refusal for an unknown host."""
        self._set_paused(caller, name, True)

    def resume(self, caller: Caller, name: str) -> None:
        """Resume the host: its moves run again. Raises Refusal for an unknown host."""
        self._set_paused(caller, name, False)

    def _set_paused(self, caller: Caller, name: str, paused: bool) -> None:
        with self._audit.call("pause" if paused else "resume", host=name):
            if name not in self._registry.current().seen_with(caller.rights).seen_hosts:
                raise Refusal("Host does not exist", code="no-such-host", field="name")
            with self._transactions.writing() as session:
                host_health.set_paused(session, name, paused)
                self._transactions.notify_all_workers()
