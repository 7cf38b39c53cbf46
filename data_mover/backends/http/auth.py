"""The credentials of requests to web servers."""

from base64 import b64encode

from data_mover.backends.http.options import HttpLogin
from data_mover.backends.logins import secret_of
from data_mover.domain.errors import LoginRefused
from data_mover.domain.secrets import SecretReference


def authorization(host: str, options: HttpLogin) -> dict[str, str]:
    """Return the Authorization header, if a login is configured. Raises LoginRefused as `field_of` does."""
    if options.bearer:
        return {"Authorization": f"Bearer {field_of(host, 'bearer', options.bearer)}"}
    if options.password:
        login = f"{options.username}:{field_of(host, 'password', options.password)}"
        return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    return {}


def field_of(host: str, key: str, reference: SecretReference) -> str:
    """Return the secret as the value of a header. Raises LoginRefused if it cannot be read, or cannot be one."""
    secret = secret_of(host, key, reference)
    if not (secret.isascii() and secret.isprintable()):
        raise LoginRefused(f"{host}: its {key} has characters that no header of a request can carry")
    return secret
