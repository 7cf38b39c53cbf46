"""The options of a bucket."""

from typing import Literal

from pydantic import (
    Field,
)

from data_mover.backends.options import HostOptions, ReadablePath, Secret, StoreUrl


class S3Options(HostOptions):
    """A bucket of an object store; `root` is the prefix of its keys."""

    protocol: Literal["s3"]
    endpoint: StoreUrl
    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")
    region: str = Field(default="us-east-1", min_length=1)
    access_key: Secret
    secret_key: Secret
    #: certificates of authorities to trust, instead of Mozilla's list
    ca_file: ReadablePath | None = None
