"""The state machine: every change of a job's status or phase, or of a file's state, is made here.

Each change of a job is one guarded UPDATE and one row of `events` in the same transaction. All functions take a writing
session and leave the commit to the caller.
"""

from data_mover.store.transitions.ends import FILES_AT_ONCE, ending_jobs, settle
from data_mover.store.transitions.files import (
    ArrivedFile,
    PathLock,
    begin_afresh,
    correct_sizes,
    insert_files,
    lock_paths,
    mark_folder,
    mark_publishing,
    record_arrived,
    record_busy,
    record_directories,
    record_failures,
    record_folder_published,
    record_found_directories,
    unmark_folder,
    unmark_publishing,
)
from data_mover.store.transitions.jobs import (
    begin,
    cancel,
    complete,
    end_cancelled,
    fail,
    hand_back,
    put_back,
    record_phase,
    reserve,
    submit,
    wait_for_path,
)
from data_mover.store.transitions.sweep import Lost, end_overdue, take_back_lost

__all__ = [
    "FILES_AT_ONCE",
    "ArrivedFile",
    "Lost",
    "PathLock",
    "begin",
    "begin_afresh",
    "cancel",
    "complete",
    "correct_sizes",
    "end_cancelled",
    "end_overdue",
    "ending_jobs",
    "fail",
    "hand_back",
    "insert_files",
    "lock_paths",
    "mark_folder",
    "mark_publishing",
    "put_back",
    "record_arrived",
    "record_busy",
    "record_directories",
    "record_failures",
    "record_folder_published",
    "record_found_directories",
    "record_phase",
    "reserve",
    "settle",
    "submit",
    "take_back_lost",
    "unmark_folder",
    "unmark_publishing",
    "wait_for_path",
]
