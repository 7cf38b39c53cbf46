"""What stands at the destination already, and need not be moved again."""

from dataclasses import replace

from data_mover.backends.api import Facts, Files, Source
from data_mover.domain.errors import Exists
from data_mover.domain.locations import IfExists
from data_mover.transfer.names import require_checksum
from data_mover.transfer.recorder import Watch
from data_mover.transfer.tasks import Order, Proof
from data_mover.transfer.verify import has_digest, read_digest


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
    may_be_it = source_facts.size_bytes in (None, there.size_bytes)
    if order.proof is not None and may_be_it and _holds(order.proof, order, source, source_facts, destination, watch):
        return replace(order.proof, size_bytes=there.size_bytes or 0)
    if order.if_exists is IfExists.REPLACE:
        return None
    if order.if_exists is IfExists.REFUSE or not may_be_it:
        raise Exists(destination.named(order.path))
    watch.phase("verifying")
    sha256 = read_digest(source, order.source_path, watch)
    require_checksum(order, sha256)
    if read_digest(destination, order.path, watch) != sha256:
        raise Exists(f"{destination.named(order.path)} has other bytes")
    return Proof.of(source_facts, there.size_bytes or 0, sha256, "sha256-readback")


def _holds(proof: Proof, order: Order, source: Source, source_facts: Facts, destination: Files, watch: Watch) -> bool:
    """Whether source and destination, of one size as far as that is known, are what an earlier job has proven. The
    source is read where its host does not tell what it was like then."""
    watch.phase("verifying")
    if proof.tells_source:
        is_same = proof.is_of(source_facts)
    else:
        is_same = read_digest(source, order.source_path, watch) == proof.sha256
    if destination.options.verify == "size" and source_facts.size_bytes is not None:
        return is_same
    return is_same and has_digest(destination, order.path, proof.sha256, watch)
