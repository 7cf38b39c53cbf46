"""Buckets of object stores that speak S3."""

from data_mover.backends.protocol import Protocol
from data_mover.backends.s3.options import S3Options

PROTOCOL = Protocol(
    S3Options,
    backend="data_mover.backends.s3.backend:S3Files",
    check="data_mover.backends.s3.check:S3Check",
    needs=("botocore", "s3"),
)
