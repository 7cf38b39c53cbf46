"""Tokens: `dm_NAME_`, forty random letters and digits, and a checksum by which scanners of secrets know them."""

import re
import secrets
import string
import zlib
from hashlib import sha256

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LOOKS_LIKE_A_TOKEN = re.compile(r"dm_[^/?#\s]+")
_RANDOM_LENGTH, _CHECKSUM_LENGTH = 40, 6


def new_token(name: str) -> str:
    """Return a new token for the caller of that name, with 238 bits that nobody can guess."""
    begin = f"dm_{name}_{''.join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))}"
    return f"{begin}_{_checksum(begin)}"


def digest_of(token: str) -> str:
    """Return the SHA-256 of a token in hexadecimal: all that is kept of it."""
    return sha256(token.encode(errors="surrogateescape")).hexdigest()


def without_tokens(text: str) -> str:
    """Return the text with dots for whatever looks like a token."""
    return _LOOKS_LIKE_A_TOKEN.sub("dm_…", text)


def _checksum(text: str) -> str:
    """Return the CRC-32 in base 62."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
