"""Bytes are hashed as they pass, however they are cut."""

import hashlib
import threading

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


@pytest.mark.parametrize("count", [16, 17, 60])
def test_a_long_file_is_hashed_in_a_thread_beside_which_ends_with_it(count):
    blocks = [bytes([number]) * 2**18 for number in range(count)]
    whole, size_bytes = b"".join(blocks), count * 2**18
    before = threading.active_count()

    with Hashed(stream(blocks)) as read:
        assert len(taken(read.until(size_bytes - 100_000))) == count
        first = read.sha256_here()
        assert b"".join(taken(read.rest())) == whole[-100_000:]
        assert threading.active_count() == before + (count > 16)
        assert first() == hashlib.sha256(whole[:-100_000]).hexdigest()
        assert read.sha256 == hashlib.sha256(whole).hexdigest()

    assert threading.active_count() == before


def test_what_a_reader_finds_out_at_its_end_is_heard():
    def blocks():
        yield b"12"
        raise EOFError

    read = Hashed(stream(blocks()))
    assert taken(read.until(2)) == [b"12"]

    with pytest.raises(EOFError):
        taken(read.rest())
