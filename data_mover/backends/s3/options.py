"""The options of a bucket."""

from typing import Literal

from pydantic import (
    Field,
)

from data_mover.backends.options import HostOptions, ReadablePath, Secret, StoreUrl


class S3Options(HostOptions):
    """A bucket of an object store; `root` is the prefix of its keys."""

    protocol: Literal["s3"]
    #: the store's URL without a path, like `"https://s3.example.org"`. Over `http://` the keys stay secret, the
    #: files do not
    endpoint: StoreUrl
    #: its bucket; `root` is the prefix of the keys, `"/"` for all of them
    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")
    #: what requests are signed for; most stores but Amazon's take any
    region: str = Field(default="us-east-1", min_length=1)
    #: where the access key is: `env:NAME`, `file:/path` or `credential:NAME`
    access_key: Secret
    #: where the secret key is
    secret_key: Secret
    #: certificates of the authorities to trust instead of Mozilla's list, in one file
    ca_file: ReadablePath | None = None
