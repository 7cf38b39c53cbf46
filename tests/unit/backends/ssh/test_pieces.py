"""What a channel has received is read as it came, however it is cut."""

from hypothesis import given
from hypothesis import strategies as st

from data_mover.backends.ssh.transport import _BoundedPipe


@given(st.lists(st.binary(min_size=1, max_size=9)), st.lists(st.integers(1, 12)))
def test_pieces_come_out_in_order_whatever_is_asked_for(pieces, counts):
    pipe, whole, read = _BoundedPipe(10_000), b"".join(pieces), b""
    for piece in pieces:
        pipe.feed(piece)

    for count in counts:
        if len(read) == len(whole):
            break
        part = pipe.read(count)
        assert part == whole[len(read) : len(read) + count]
        read += part
        assert len(pipe) == len(whole) - len(read)

    assert read + pipe.empty() == whole
    pipe.close()
    assert pipe.read(1) == b""
