"""What stands at the destination already, and need not be moved again."""

from data_mover.errors import Exists
from data_mover.locations import IfExists
from data_mover.protocols.base import Facts, Files, Source
from data_mover.transfer.order import Order, Proof
from data_mover.transfer.plan import require_checksum
from data_mover.transfer.verify import read_digest
from data_mover.transfer.watch import Watch


def proof_of_what_is_there(
    order: Order, source: Source, source_facts: Facts, destination: Files, watch: Watch
) -> Proof | None:
    """The proof that the file at the final path is the source, byte for byte; None if the source is to be moved.

    Exists if something is there that the request says to leave.
    """
    if order.proof is None and order.if_exists is IfExists.REPLACE:
        return None
    there = destination.facts(order.path)
    if there is None:
        return None
    if order.proof is not None and _is_untouched(order.proof, source_facts, there):
        return order.proof
    if order.if_exists is IfExists.REPLACE:
        return None
    if order.if_exists is IfExists.REFUSE or source_facts.size_bytes not in (None, there.size_bytes):
        raise Exists(destination.named(order.path))
    watch.phase("verifying")
    sha256 = read_digest(source, order.source_path, watch)
    require_checksum(order, sha256)
    if read_digest(destination, order.path, watch) != sha256:
        raise Exists(f"{destination.named(order.path)} has other bytes")
    return Proof(there.size_bytes or 0, sha256, "sha256-readback")


def _is_untouched(proof: Proof, source: Facts, there: Facts) -> bool:
    """Whether source and destination are what they were when an earlier job proved it, as far as their hosts tell."""
    if source.modified_at is None or there.modified_at is None:
        return False
    sizes = {proof.size_bytes, source.size_bytes, there.size_bytes}
    return len(sizes) == 1 and int(source.modified_at) == int(there.modified_at)
