"""The audit trail: a chain of lines, whoever writes them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from data_mover.domain.errors import Refusal, ServiceUnavailable
from data_mover.services.audit import RequestAudit
from data_mover.store.audit_trail import AuditTrail, first_broken_line


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_of_several_writers_are_one_chain(tmp_path):
    path = tmp_path / "audit.jsonl"
    trails = [AuditTrail(path) for _ in range(4)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: trails[number % 4].record(number=number), range(200)))

    assert sorted(line["number"] for line in lines(path)) == list(range(200))
    assert first_broken_line(path) is None


@pytest.mark.parametrize("change", [lambda text: text.replace('"number": 2', '"number": 7'), lambda text: ""])
def test_a_line_that_was_changed_or_removed_shows(tmp_path, change):
    path = tmp_path / "audit.jsonl"
    for number in range(5):
        AuditTrail(path).record(number=number)
    whole = path.read_text().splitlines(keepends=True)
    whole[2] = change(whole[2])
    path.write_text("".join(whole))

    assert first_broken_line(path) in (3, 4)


def test_after_a_line_that_a_crash_has_cut_off_the_chain_continues(tmp_path):
    path = tmp_path / "audit.jsonl"
    AuditTrail(path).record(number=0)
    with path.open("a") as file:
        file.write('{"number": 1, "prev')

    AuditTrail(path).record(number=2)

    assert json.loads(path.read_text().splitlines()[2])["number"] == 2
    assert first_broken_line(path) == 2


def test_control_characters_cannot_make_lines(tmp_path):
    path = tmp_path / "audit.jsonl"

    AuditTrail(path).record(label="a\nb\x1b[31m\u2028\u202e")

    assert path.read_text().isascii()
    assert len(path.read_text().splitlines()) == 1


def test_nobody_is_answered_if_it_cannot_be_written(tmp_path):
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ServiceUnavailable):
        AuditTrail(tmp_path / "audit.jsonl").record(number=1)
    assert not (tmp_path / "elsewhere").exists()


def test_a_refusal_is_recorded_with_its_code(tmp_path):
    audit = RequestAudit(AuditTrail(tmp_path / "audit.jsonl"), "portal", "0123", "192.0.2.7", "127.0.0.1")

    with pytest.raises(Refusal), audit.call("move", source="x"):
        raise Refusal("no", code="unknown-source", field="source")

    [line] = lines(tmp_path / "audit.jsonl")
    assert (line["caller"], line["source"], line["code"]) == ("portal", "x", "unknown-source")


def test_without_a_file_nothing_is_recorded():
    AuditTrail(None).record(number=1)
    AuditTrail(None).record_stranger(name="x")
