"""What lets a request in at a web server."""

from base64 import b64encode

from data_mover.backends.http.options import HttpLogin
from data_mover.domain.errors import LoginRefused
from data_mover.domain.secrets import SecretReference


def authorization(host: str, options: HttpLogin) -> dict[str, str]:
    """The field that says who asks, if anybody is to be named. LoginRefused as `field_of`."""
    if options.bearer:
        return {"Authorization": f"Bearer {field_of(host, options.bearer)}"}
    if options.password:
        login = f"{options.username}:{field_of(host, options.password)}"
        return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    return {}


def field_of(host: str, reference: SecretReference) -> str:
    """The secret as the value of a field. LoginRefused if it is not where the registry says, or cannot be one."""
    try:
        secret = reference.read()
    except LookupError as error:
        raise LoginRefused(f"{host}: {error}") from error
    if not (secret.isascii() and secret.isprintable()):
        raise LoginRefused(f"{host}: {reference} holds what no field of a request can carry")
    return secret
