"""Bytes are hashed as they pass, however they are cut."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_mover.backends.futures import complete
from data_mover.transfer.copy import Hashed


async def stream(blocks):
    for block in blocks:
        yield block


def taken(stream):
    """All that comes, in a list."""

    async def everything():
        return [block async for block in stream]

    return complete(everything())


@given(st.lists(st.binary(max_size=9)), st.integers(0, 40))
def test_what_passes_is_what_is_hashed_in_two_portions_as_in_one(blocks, cut):
    whole = b"".join(blocks)
    read = Hashed(stream(blocks))

    first = b"".join(taken(read.until(cut)))
    assert first == whole[:cut]
    assert (read.size_bytes, read.sha256) == (len(first), hashlib.sha256(first).hexdigest())

    assert first + b"".join(taken(read.rest())) == whole
    assert (read.size_bytes, read.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())


def test_what_a_reader_finds_out_at_its_end_is_heard():
    def blocks():
        yield b"12"
        raise EOFError

    read = Hashed(stream(blocks()))
    assert taken(read.until(2)) == [b"12"]

    with pytest.raises(EOFError):
        taken(read.rest())
