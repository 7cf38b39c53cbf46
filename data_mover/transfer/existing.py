"""What stands at the destination already, where the request does not say to replace it."""

from data_mover.errors import Exists
from data_mover.locations import IfExists
from data_mover.protocols.base import Files, Source
from data_mover.transfer.order import Order
from data_mover.transfer.plan import require_checksum
from data_mover.transfer.verify import read_digest
from data_mover.transfer.watch import Proof, Watch


def is_there_already(
    order: Order, source: Source, source_bytes: int | None, destination: Files, path: str, watch: Watch
) -> bool:
    """Whether the file at the final path is the source, byte for byte, so that nothing is left to do.

    Exists if something is there that the request says to leave. The proof is recorded as that of a publication.
    """
    if order.if_exists is IfExists.REPLACE:
        return False
    facts = destination.facts(path)
    if facts is None:
        return False
    if order.if_exists is IfExists.REFUSE or source_bytes not in (None, facts.size_bytes):
        raise Exists(f"{destination.host}:{path}")
    watch.phase("verifying")
    sha256 = read_digest(source, order.source_path, watch)
    require_checksum(order, sha256)
    if read_digest(destination, path, watch) != sha256:
        raise Exists(f"{destination.host}:{path} has other bytes")
    watch.publishing(Proof(facts.size_bytes or 0, sha256, "sha256-readback"))
    return True
