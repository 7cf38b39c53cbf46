"""The check of an object store: its address and certificate, the keys, the bucket."""

from collections.abc import Sequence
from functools import partial

from data_mover.backends.check import HostCheck
from data_mover.backends.s3.backend import S3Files
from data_mover.backends.s3.options import S3Options
from data_mover.domain.errors import CertificateRefused, HostUnreachable, LoginRefused
from data_mover.domain.findings import Step, advised


class S3Check(HostCheck):
    """Signs in with the keys of the registry."""

    def log_in(self) -> Sequence[Step]:
        return [("login", partial(_sign_in, self.host, self.options))] if isinstance(self.options, S3Options) else ()

    def root_advice(self) -> str:
        bucket = self.options.bucket if isinstance(self.options, S3Options) else "of that name"
        return f"See that there is a bucket {bucket} that the key may use, or correct `bucket`."


def _sign_in(host: str, options: S3Options) -> str:
    keys = "`access_key`, `secret_key` and `region` are right, and the clock of this machine"
    with (
        advised(LoginRefused, f"See that {keys}."),
        advised(
            CertificateRefused, "See that `endpoint` has the name in the certificate, or name its authority: `ca_file`."
        ),
        advised(
            HostUnreachable,
            f"See that the server is up, that {options.endpoint} is right, and that no firewall is in the way.",
        ),
    ):
        S3Files.connect(host, options).close()
    return f"at {options.endpoint}, with the key from {options.access_key}"
