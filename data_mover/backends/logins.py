"""What a login is made of, as the registry names it."""

from data_mover.domain.errors import LoginRefused
from data_mover.domain.secrets import SecretReference


def secret_of(host: str, key: str, reference: SecretReference) -> str:
    """Return the secret that the registry names by this key.

    LoginRefused where it cannot be read. Callers see that: it names the key, and never where the secret is.
    """
    try:
        return reference.read()
    except LookupError as error:
        raise LoginRefused(f"{host}: its {key} cannot be read by this worker") from error
