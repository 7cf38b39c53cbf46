"""Moving one file: resolve where it goes, copy it to a temporary name, prove that it arrived, publish it."""

from data_mover.transfer.leftovers import clear
from data_mover.transfer.move import move_file
from data_mover.transfer.order import Checkpoint, Leftover, Order
from data_mover.transfer.watch import Proof, Watch

__all__ = ["Checkpoint", "Leftover", "Order", "Proof", "Watch", "clear", "move_file"]
