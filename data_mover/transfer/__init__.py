"""Moving files: what there is to move, and the way of each file: copy it, prove that it arrived, publish it."""

from data_mover.transfer.leftovers import clear
from data_mover.transfer.listing import Item, list_source, target_path
from data_mover.transfer.move import move_file
from data_mover.transfer.order import Checkpoint, Leftover, Order, Proof
from data_mover.transfer.watch import Watch

__all__ = [
    "Checkpoint",
    "Item",
    "Leftover",
    "Order",
    "Proof",
    "Watch",
    "clear",
    "list_source",
    "move_file",
    "target_path",
]
