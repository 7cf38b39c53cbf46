"""Untrusted text, escaped for logs, terminals and pages."""


def printable(text: str) -> str:
    r"""Escape every character that does not print, as `\n`, `\x1b` or `\u202e`: line breaks, which would begin a second
    line, control characters, which a terminal obeys, and marks that change the direction of text."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
