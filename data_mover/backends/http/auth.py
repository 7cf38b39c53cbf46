"""The credentials of requests to web servers."""

from base64 import b64encode

from data_mover.backends.http.options import HttpLogin
from data_mover.domain.errors import LoginRefused
from data_mover.domain.secrets import SecretReference


def authorization(host: str, options: HttpLogin) -> dict[str, str]:
    """Return the Authorization header, if a login is configured. Raises LoginRefused as `field_of` does."""
    if options.bearer:
        return {"Authorization": f"Bearer {field_of(host, options.bearer)}"}
    if options.password:
        login = f"{options.username}:{field_of(host, options.password)}"
        return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    return {}


def field_of(host: str, reference: SecretReference) -> str:
    """Return the secret as the value of a header. Raises LoginRefused if it cannot be read, or cannot be one."""
    try:
        secret = reference.read()
    except LookupError as error:
        raise LoginRefused(f"{host}: {error}") from error
    if not (secret.isascii() and secret.isprintable()):
        raise LoginRefused(f"{host}: {reference} has characters that no header of a request can carry")
    return secret
