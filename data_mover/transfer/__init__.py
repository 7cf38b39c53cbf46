"""List what there is to move; copy, verify and publish each file. Knows neither database nor Redis."""

from data_mover.transfer.cleanup import clear
from data_mover.transfer.listing import Item, list_source, target_path
from data_mover.transfer.pipeline import Move, Pipeline
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.room import Room
from data_mover.transfer.stages import move_file
from data_mover.transfer.tasks import Checkpoint, FileTask, TemporaryFile

__all__ = [
    "Checkpoint",
    "FileTask",
    "Item",
    "Move",
    "Pipeline",
    "Recorder",
    "Room",
    "TemporaryFile",
    "clear",
    "list_source",
    "move_file",
    "target_path",
]
