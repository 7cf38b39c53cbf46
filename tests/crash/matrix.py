"""The table of the kill matrix: where a process is struck, and with what."""

from typing import NamedTuple

#: points of the web process: what follows of a request whose answer is not given
WEB_POINTS = {
    "begun": "before the insert",
    "inserted": "after the insert, before the commit",
    "committed": "after the commit, before a worker is woken",
    "notifying": "while a worker is woken",
    "notified": "after a worker was woken, before the answer",
}

SIZE_BYTES = 1_500_000

#: points of a worker and its work-horse
WORKER_POINTS = {
    "popped": "doorbell job popped, before the work-horse",
    "heard": "doorbell job begun by the work-horse",
    "claimed": "job claimed",
    "resolving": "phase `resolving` on record",
    "planned": "all files on record",
    "opened": "source opened",
    "batch": "a batch of records is about to be committed",
    "recorded": "temporary file on record, not opened",
    "transferring": "final path resolved",
    "sent-0": "temporary file opened",
    "sent-1": "1 byte sent",
    "sent-32768": "32 768 bytes sent",
    "sent-1048576": "1 MiB sent",
    f"sent-{SIZE_BYTES - 1}": "all bytes sent but one",
    f"sent-{SIZE_BYTES}": "all bytes sent",
    "verifying": "fsynced and closed",
    "verified": "verified",
    "marked": "marked as about to be published",
    "renamed": "renamed",
    "moved": "temporary file forgotten",
    "finished": "COMPLETED on record, before RQ knows",
}

#: points of a work-horse while it builds a folder that is to appear at once
FOLDER_POINTS = {
    "tree-recorded": "folder on record, not begun",
    "tree-begun": "no folder of an earlier attempt taken over, its own not made",
    "tree-taken": "folder of an earlier attempt taken over, not on record",
    "tree-marked": "folder marked as about to be published",
    "tree-renamed": "folder renamed",
    "tree-forgotten": "the publication of the folder is on record",
}

#: points at which a list, of which no two sources come from the same host, is not moved as a folder is
LIST_POINTS = ("resolving", "planned", "opened", "recorded", "sent-1048576", "marked", "renamed", "moved", "finished")

#: the point of a work-horse at which a part of many files is on record
LISTING_POINTS = {"listed": "500 of more files on record"}

#: points of a worker that runs no job
MAINTENANCE_POINTS = {
    "probing": "host about to be probed",
    "answering": "plan request claimed",
    "clearing": "temporary files of ended jobs about to be cleared",
}

ACTIONS = {
    "kill": "killed with SIGKILL",
    "stop": "stopped for longer than its lease, then woken",
    "raise": "an unforeseen exception",
}


class Fault(NamedTuple):
    point: str
    action: str


#: what a run of the ordinary tests forces, and with which destination; the rest is marked `soak`
QUICK = {
    (Fault("committed", "kill"), "shelf"),
    (Fault("notified", "raise"), "shelf"),
    (Fault("popped", "kill"), "shelf"),
    (Fault("claimed", "kill"), "vis"),
    (Fault("sent-1048576", "kill"), "vis"),
    (Fault("marked", "stop"), "shelf"),
    (Fault("renamed", "kill"), "vis"),
    (Fault("renamed", "raise"), "shelf"),
    (Fault("finished", "kill"), "shelf"),
}

#: the same of folders and lists
QUICK_CARGOES = {
    (Fault("batch", "kill"), "vis", "folder"),
    (Fault("sent-1048576", "kill"), "vis", "folder"),
    (Fault("renamed", "kill"), "shelf", "list"),
    (Fault("recorded", "stop"), "shelf", "folder-at-once"),
    (Fault("tree-marked", "kill"), "vis", "folder-at-once"),
    (Fault("tree-renamed", "kill"), "shelf", "list-at-once"),
}
