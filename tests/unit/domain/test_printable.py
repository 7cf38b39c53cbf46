"""Text of others, as a line can show it."""

import pytest

from data_mover.domain.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain, caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{KOALA}",
            "plain, caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{KOALA}",
        ),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[31mred\x7f", r"\x1b[31mred\x7f"),
        ("\x85\x9b31m", r"\x85\x9b31m"),
        ("\u202egpj.exe\u2028", r"\u202egpj.exe\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_does_not_print_is_escaped(text, shown):
    assert printable(text) == shown
