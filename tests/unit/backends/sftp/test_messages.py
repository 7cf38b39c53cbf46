"""The layout of SFTP messages, as the drafts draw it."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_mover.backends.sftp.messages import (
    Answer,
    Attributes,
    Named,
    Refused,
    Reply,
    Status,
    names,
    string,
    strings,
    text,
)

COUNT = st.integers(min_value=0, max_value=2**32 - 1)


def attributes(flags, *fields):
    return memoryview(struct.pack(">I", flags) + b"".join(fields))


def test_all_attributes_are_read_but_for_the_access_time():
    content = attributes(
        0x0F, struct.pack(">Q", 2**40), struct.pack(">II", 1, 2), struct.pack(">I", 0o644), struct.pack(">II", 3, 4)
    )

    assert Attributes.read(content) == Attributes(size_bytes=2**40, mode=0o644, modified_at=4, owner=(1, 2))


def test_attributes_that_a_host_does_not_tell_are_none():
    assert Attributes.read(attributes(0)) == Attributes()
    assert Attributes.read(attributes(0x08, struct.pack(">II", 3, 4))) == Attributes(modified_at=4)


def test_what_follows_the_attributes_is_left_alone():
    content = attributes(0x80000001, struct.pack(">Q", 7), b"extended")

    assert Attributes.read(content).size_bytes == 7


@settings(database=None)
@given(mode=st.none() | COUNT, modified_at=st.none() | COUNT)
def test_packed_attributes_are_read_as_they_were(mode, modified_at):
    packed = Attributes(mode=mode, modified_at=modified_at).packed()

    assert Attributes.read(memoryview(packed)) == Attributes(mode=mode, modified_at=modified_at)


@pytest.mark.parametrize(("modified_at", "sent"), [(-1, 0), (2**33, 2**32 - 1)])
def test_a_time_that_the_protocol_cannot_carry_is_the_nearest_that_it_can(modified_at, sent):
    packed = Attributes(modified_at=modified_at).packed()

    assert Attributes.read(memoryview(packed)).modified_at == sent


@settings(database=None)
@given(st.lists(st.binary(max_size=50)))
def test_strings_are_read_as_they_were_written(values):
    assert strings(memoryview(b"".join(map(string, values)))) == values


def named(name, content):
    return string(name) + string(b"as ls shows it") + content


def test_names_are_read_with_their_attributes_whatever_those_are_extended_by():
    extended = attributes(0x80000004, struct.pack(">I", 0o644), struct.pack(">I", 1), string(b"acl"), string(b"none"))
    content = named(b"a", extended) + named(b"\xff", attributes(0x08, struct.pack(">II", 3, 4))) + b"more"

    assert names(memoryview(struct.pack(">I", 2) + content)) == [
        Named(b"a", Attributes(mode=0o644)),
        Named(b"\xff", Attributes(modified_at=4)),
    ]


@pytest.mark.parametrize("cut", [1, 5, 12, 30])
def test_names_that_are_fewer_than_announced_are_refused(cut):
    content = struct.pack(">I", 1) + named(b"a", attributes(0x01, struct.pack(">Q", 7)))

    with pytest.raises(struct.error):
        names(memoryview(content)[:-cut])


def test_a_string_that_is_longer_than_its_packet_is_refused():
    with pytest.raises(struct.error):
        strings(memoryview(b"\0\0\0\5abc"))


def test_a_name_that_is_not_utf8_survives():
    assert text(b"\xff/a".decode(errors="surrogateescape")) == b"\0\0\0\3\xff/a"


def test_a_reply_is_what_was_asked_for_or_a_refusal_or_no_sftp():
    handle = Reply(Answer.HANDLE, memoryview(b"\0\0\0\3abc"))
    denied, fine = (Reply(Answer.STATUS, memoryview(bytes([0, 0, 0, code]))) for code in (3, 0))

    fine.require_ok()
    assert handle.answer(Answer.HANDLE) == handle.content
    for ask, status in ((denied.require_ok, 3), (lambda: denied.answer(Answer.HANDLE), 3)):
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.status == status
    with pytest.raises(Refused) as refused:
        fine.answer(Answer.HANDLE)
    assert refused.value.status == Status.FAILURE
    for ask in (handle.require_ok, lambda: handle.answer(Answer.DATA)):
        with pytest.raises(struct.error):
            ask()
