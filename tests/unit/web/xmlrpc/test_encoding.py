"""What goes over the wire can be read by every client."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from xmlrpc.client import Fault, loads

import pytest

from data_mover.domain.states import Status
from data_mover.store.plan_requests import PlanReport
from data_mover.store.reports import FileReport, JobReport
from data_mover.web.xmlrpc.encoding import DOUBLES, as_xml


@dataclass
class Report:
    status: Status
    bytes_total: int
    reason: str | None
    ended_at: datetime
    names: tuple[str, ...] = ()


def over_the_wire(value):
    return loads(as_xml(value))[0][0]


def test_a_report_crosses_in_types_that_xml_rpc_has():
    report = Report(Status.COMPLETED, 3 * 2**30, None, datetime(2026, 11, 23, 9, 8, 7, 654321, UTC), ("a", "b"))

    assert over_the_wire(report) == {
        "status": "COMPLETED",
        "bytes_total": float(3 * 2**30),
        "ended_at": "2026-11-23T09:08:07.654Z",
        "names": ["a", "b"],
    }


@pytest.mark.parametrize("character", ["\0", "\x1b", "\ud800", "\ufffe", "\r"])
def test_a_character_that_xml_cannot_carry_does_not_spoil_the_answer(character):
    assert over_the_wire({"reason": f"a{character}b"}) == {"reason": "a\N{REPLACEMENT CHARACTER}b"}


def test_text_that_xml_can_carry_arrives_as_it_is():
    text = "tab\tnewline\n<&>]]> é \N{GRINNING FACE}"

    assert over_the_wire({"reason": text}) == {"reason": text}


def test_a_fault_with_odd_text_can_be_read():
    with pytest.raises(Fault) as fault:
        loads(as_xml(Fault(-32010, "bad \0 text")))

    assert fault.value.faultString == "bad \N{REPLACEMENT CHARACTER} text"


def test_counts_of_bytes_and_seconds_are_doubles_wherever_they_are_reported():
    reported = {field.name for report in (JobReport, FileReport, PlanReport) for field in fields(report)}
    counts = {name for name in reported if name.startswith(("bytes_", "seconds_")) or name == "size_bytes"}

    assert counts == set(DOUBLES)
