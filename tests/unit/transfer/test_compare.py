"""A file exists at the final path, and the request does not say to replace it."""

import os
from dataclasses import replace

import pytest

from data_mover.domain.errors import ChecksumMismatch, Exists
from data_mover.domain.locations import IfExists
from tests.unit.transfer.diary import move_file
from tests.unit.transfer.test_stages import NEW, NEW_SHA256, OLD, ORDER, Diary, contents, files, root, source

__all__ = ["root", "source"]

REFUSE, VERIFY = replace(ORDER, if_exists=IfExists.REFUSE), replace(ORDER, if_exists=IfExists.VERIFY)


def test_a_file_that_is_to_stay_stays(source, root):
    with pytest.raises(Exists, match="vis:/b"):
        move_file(REFUSE, source, files(root), Diary())

    assert contents(root) == {"b": OLD}


@pytest.mark.parametrize("task", [REFUSE, VERIFY])
def test_where_nothing_stands_the_file_arrives(task, source, root):
    os.unlink(root / "b")

    move_file(task, source, files(root), Diary())

    assert contents(root) == {"b": NEW}


@pytest.mark.parametrize("task", [REFUSE, VERIFY])
def test_a_file_that_appears_meanwhile_stays_and_nothing_is_left_beside_it(task, source, root):
    os.unlink(root / "b")

    class Late(Diary):
        async def publishing(self, proof):
            await super().publishing(proof)
            (root / "b").write_bytes(OLD)

    diary = Late()
    with pytest.raises(Exists):
        move_file(task, source, files(root), diary)

    assert contents(root) == {"b": OLD}
    assert "not published" in diary.words
    assert diary.on_record == []


def test_the_same_bytes_count_as_done_and_are_not_written_again(source, root):
    (root / "b").write_bytes(NEW)
    before = (root / "b").stat()
    diary = Diary()

    move_file(VERIFY, source, files(root), diary)

    assert (root / "b").stat() == before
    assert (diary.proof.size_bytes, diary.proof.sha256, diary.proof.verified) == (
        len(NEW),
        NEW_SHA256,
        "sha256-readback",
    )
    assert diary.on_record == []


@pytest.mark.parametrize("other", [OLD, NEW[::-1]], ids=["another size", "the same size"])
def test_other_bytes_are_left_alone_and_the_move_fails(other, source, root):
    (root / "b").write_bytes(other)

    with pytest.raises(Exists):
        move_file(VERIFY, source, files(root), Diary())

    assert contents(root) == {"b": other}


def test_the_same_bytes_are_not_what_was_meant_if_the_checksum_is_another(source, root):
    (root / "b").write_bytes(NEW)

    with pytest.raises(ChecksumMismatch):
        move_file(replace(VERIFY, checksum="0" * 64), source, files(root), Diary())
