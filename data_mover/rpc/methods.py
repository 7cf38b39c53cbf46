"""The methods that programs call. Each turns arguments into values, asks `moves`, and answers."""

from typing import Any

from pyramid.request import Request

from data_mover.rpc.calls import Method
from data_mover.rpc.requests import job_id, move_request


def move(request: Request, source: Any = None, destination: Any = None, options: Any = None) -> Any:
    """move(source, destination[, options]) copies a file to a registered destination and answers at once.

    source: {'host': name, 'path': path}, a URL like sftp://name/path, {'type': data type, 'id': id}, or as two
    arguments a data type and an id, which go to the default destination: move('species', 12).
    destination: {'host': name, 'path': path} or a URL. A directory, or a path that ends in a slash, receives the file
    under the source's name; anything else is the exact name.
    options: key (the same key gives the same job), label, priority (low, normal, high), checksum (sha256:...),
    deadline (seconds).

    Answers {'id': id, 'status': 'PENDING'}, or {'status': 'REJECTED', 'reason', 'code', 'field'} and no job.
    """
    return request.moves.submit(request.caller, *move_request(source, destination, options))


def check(request: Request, id: Any = None) -> Any:
    """check(id) tells how a job stands, now and whenever it is asked.

    status is PENDING, IN_PROGRESS, COMPLETED, FAILED or CANCELLED; COMPLETED says that size and SHA-256 at the
    destination were found equal to the source. reason and code say why a job failed, retryable and who_can_fix what
    can be done; path is where the file is. Sizes are bytes, times are ISO 8601 in UTC; what is not known is left out.
    """
    return request.moves.check(request.caller, job_id(id))


def hosts(request: Request) -> Any:
    """hosts() lists the registered hosts: name, description, protocol, roles and health (unknown, ok or failing)."""
    return [
        {
            "name": host.name,
            "description": host.description,
            "protocol": host.protocol,
            "roles": host.roles,
            "health": host.health.state,
            "code": host.health.code,
        }
        for host in request.moves.hosts()
    ]


def datasets(request: Request) -> Any:
    """datasets() lists the data types of the catalogue: name and description."""
    return request.moves.datasets()


METHODS = {
    "move": Method(
        move,
        (
            ("struct", "string", "int"),
            ("struct", "string", "string"),
            ("struct", "struct", "struct"),
            ("struct", "struct", "struct", "struct"),
        ),
    ),
    "check": Method(check, (("struct", "int"), ("struct", "string"))),
    "check_move_status": Method(check, (("struct", "int"), ("struct", "string"))),
    "hosts": Method(hosts, (("array",),)),
    "datasets": Method(datasets, (("array",),)),
}
