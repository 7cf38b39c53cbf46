"""Text of others, as lines of a log, a terminal or a page can show it."""


def printable(text: str) -> str:
    r"""The text with every character escaped that does not print, as `\n`, `\x1b` or `\u202e`: line breaks, which would
    make a second line, control characters, which a terminal obeys, and marks that turn the direction of text around."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
