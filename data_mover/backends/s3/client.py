"""The S3 requests of the backend, and the failures of their errors."""

import logging
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    SSLError,
)
from botocore.httpsession import URLLib3Session
from urllib3.exceptions import HTTPError as HttpError

from data_mover.backends.logins import secret_of
from data_mover.backends.options import HostOptions
from data_mover.backends.s3.answers import BoundedSession
from data_mover.backends.s3.options import S3Options
from data_mover.domain.errors import (
    BadName,
    CertificateRefused,
    ConnectionLost,
    HostFailed,
    HostUnreachable,
    InternalError,
    LoginRefused,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    PermissionRefused,
    Stalled,
    VerifyFailed,
)

# Below this level it logs which answers it takes for errors, with the names of keys.
logging.getLogger("botocore").setLevel(logging.ERROR)

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_FAILURES: dict[str, type[MoveFailure]] = {
    "InvalidAccessKeyId": LoginRefused,
    "SignatureDoesNotMatch": LoginRefused,
    "AuthorizationHeaderMalformed": LoginRefused,
    "RequestTimeTooSkewed": LoginRefused,
    "ExpiredToken": LoginRefused,
    "XAmzContentSHA256Mismatch": VerifyFailed,
    "BadDigest": VerifyFailed,
    "KeyTooLongError": PermissionRefused,
    "InvalidObjectState": PermissionRefused,
    "QuotaExceeded": NoSpace,
    "XMinioStorageFull": NoSpace,
    "InsufficientCapacity": NoSpace,
}
_FAILURES_BY_STATUS: dict[int, type[MoveFailure]] = {403: PermissionRefused, 404: NoSuchFile, 507: NoSpace}


#: the arguments that request the next page, and the keys of an answer from which they are taken
_NEXT_KEYS = {"ContinuationToken": "NextContinuationToken"}
_NEXT_UPLOADS = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
_ENTRIES = ("Contents", "CommonPrefixes", "Uploads")
#: the most pages of a listing for one file
_MOST_PAGES = 100
#: the most entries of a page, for all stores
_MOST_ENTRIES = 1000
#: the most characters of names that are kept: one file has fewer, since a key has 1024 bytes at most
_MOST_NAMES_LENGTH = 2**24
#: a page is empty if the store has scanned a thousand deleted versions
_MOST_EMPTY_PAGES = 100


class Changed(Exception):
    """The object is another one by now."""


class S3Client:
    """The bucket of a registered host. Paths are for messages; keys identify objects in the store."""

    def __init__(self, host: str, options: S3Options) -> None:
        self.host = host
        self.address = urlsplit(options.endpoint).netloc.lower()
        self.bucket = options.bucket
        self._session = BoundedSession(host, _http_session(options))
        self._client = _client(host, options)
        self._client.meta.events.register("before-send.s3", self._session.send)
        self._aborted = threading.Event()

    @classmethod
    def open(cls, host: str, options: HostOptions) -> "S3Client":
        """Connect and check the login. Raises HostUnreachable, CertificateRefused or LoginRefused."""
        if not isinstance(options, S3Options):
            raise InternalError(f"{host} is no object store")
        opened = cls(host, options)
        try:
            opened.has_bucket()
        except PermissionRefused:
            return opened
        except (ConnectionLost, Stalled) as failure:
            opened.close()
            raise HostUnreachable(f"{host}: the connection breaks before there is an answer") from failure
        except BaseException:
            opened.close()
            raise
        return opened

    def require_name(self, path: str, key: str) -> None:
        """Raise BadName if XML, in which a store answers, cannot express the key. Such an object can be read; requests
        whose answers contain the key cannot be made."""
        if _NOT_XML.search(key):
            raise BadName(f"{self.host}:{path}")

    def has_bucket(self) -> bool:
        """Whether the bucket exists. Uses a request whose refusal has a reason."""
        try:
            self._call("list_objects_v2", "/", MaxKeys=1)
        except NoSuchFile:
            return False
        return True

    def head(self, path: str, key: str) -> dict[str, Any] | None:
        """Return the properties of the object, None if there is none."""
        try:
            return self._call("head_object", path, Key=key)
        except NoSuchFile:
            return None

    def has_keys(self, path: str, prefix: str) -> bool:
        """Whether any key has the prefix; none does if there is no bucket."""
        try:
            return bool(self._call("list_objects_v2", path, Prefix=prefix, MaxKeys=1).get("Contents"))
        except NoSuchFile:
            return False

    def keys(self, path: str, prefix: str) -> list[str]:
        """Return all keys with the prefix; none if there is no bucket."""
        try:
            return [each["Key"] for each in self._few("Contents", "list_objects_v2", path, _NEXT_KEYS, Prefix=prefix)]
        except NoSuchFile:
            return []

    def level(self, path: str, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield answers with what is below the prefix up to the next slash, a thousand keys at a time. Raises
        NoSuchFile if there is no bucket."""
        yield from self._pages("list_objects_v2", path, _NEXT_KEYS, Prefix=prefix, Delimiter="/")

    def get_range(self, path: str, key: str, start: int, end: int, etag: str) -> Any:
        """Return the open body. Raises Changed if it is another object by now."""
        return self._call("get_object", path, Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=etag)["Body"]

    def read(self, path: str, body: Any, count: int) -> bytes:
        """Return the next bytes of an open body, none at its end."""
        with self._mapping_errors(path):
            block: bytes = body.read(count)
        return block

    def text(self, path: str, key: str) -> str | None:
        """Return the text of a small object; None if there is none."""
        try:
            body = self._call("get_object", path, Key=key)["Body"]
        except NoSuchFile:
            return None
        with body:
            return self.read(path, body, 10_000).decode()

    def put(self, path: str, key: str, content: bytes | bytearray, metadata: dict[str, str]) -> None:
        self._call("put_object", path, Key=key, Body=content, Metadata=metadata)

    def delete(self, path: str, key: str) -> None:
        """Delete the object; a missing one is fine."""
        try:
            self._call("delete_object", path, Key=key)
        except NoSuchFile:
            return

    def begin(self, path: str, key: str, metadata: dict[str, str]) -> str:
        """Begin a multipart upload; return its id."""
        return str(self._call("create_multipart_upload", path, Key=key, Metadata=metadata)["UploadId"])

    def send_part(self, path: str, key: str, upload: str, number: int, content: bytes | bytearray) -> dict[str, Any]:
        answer = self._call("upload_part", path, Key=key, UploadId=upload, PartNumber=number, Body=content)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def copy_part(
        self, path: str, key: str, upload: str, number: int, source: str, etag: str, part: tuple[int, int] | None
    ) -> dict[str, Any]:
        """Copy an object, or the part of it between two offsets. Raises Changed if it is another one by now, or
        missing."""
        of_part = {"CopySourceRange": f"bytes={part[0]}-{part[1] - 1}"} if part else {}
        answer = self._call(
            "upload_part_copy",
            path,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            CopySource=quote(f"{self.bucket}/{source}"),
            CopySourceIfMatch=etag,
            **of_part,
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    def complete(self, path: str, key: str, upload: str, parts: Sequence[dict[str, Any]]) -> None:
        """Complete the upload. Raises NoSuchFile if it was aborted."""
        self._call("complete_multipart_upload", path, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})

    def abort_upload(self, path: str, key: str, upload: str) -> bool:
        """Abort the upload. Returns False if it no longer exists."""
        try:
            self._call("abort_multipart_upload", path, Key=key, UploadId=upload)
        except NoSuchFile:
            return False
        return True

    def uploads(self, path: str, key: str) -> list[str]:
        """Return the ids of the uploads to exactly this key that are neither completed nor aborted."""
        try:
            found = self._few("Uploads", "list_multipart_uploads", path, _NEXT_UPLOADS, Prefix=key)
            return [each["UploadId"] for each in found if each["Key"] == key]
        except NoSuchFile:
            return []

    def abort(self) -> None:
        """End the current request soon, and let no further one begin."""
        self._aborted.set()
        self._session.abort()

    def close(self) -> None:
        self._client.close()
        self._session.close()

    def _few(
        self, kind: str, operation: str, path: str, markers: Mapping[str, str], **arguments: str
    ) -> Iterator[dict[str, Any]]:
        """Yield the entries of all pages, for callers who keep names. Raises HostFailed for too many or large ones."""
        names_length = 0
        for number, answer in enumerate(self._pages(operation, path, markers, **arguments), start=1):
            entries = answer.get(kind, [])
            names_length += sum(len(each["Key"]) + len(each.get("UploadId", "")) for each in entries)
            if number > _MOST_PAGES or len(entries) > _MOST_ENTRIES or names_length > _MOST_NAMES_LENGTH:
                raise HostFailed(f"{self.host}:{path}: more than {_MOST_PAGES} pages of {operation}, or too large ones")
            yield from entries

    def _pages(
        self, operation: str, path: str, markers: Mapping[str, str], **arguments: str
    ) -> Iterator[dict[str, Any]]:
        """Yield the answers, a thousand entries at a time. Raises HostFailed if one has no next page, or many in a row
        are empty."""
        here: dict[str, str] = {}
        empty = 0
        while True:
            answer = self._call(operation, path, **arguments, **here)
            yield answer
            if not answer.get("IsTruncated"):
                return
            empty = 0 if any(map(answer.get, _ENTRIES)) else empty + 1
            there = {marker: answer[key] for marker, key in markers.items() if answer.get(key)}
            if there == here or empty > _MOST_EMPTY_PAGES:
                raise HostFailed(f"{self.host}:{path}: a listing that comes to no end")
            here = there

    def _call(self, operation: str, path: str, **arguments: Any) -> dict[str, Any]:
        self.require_name(path, arguments.get("Prefix", ""))
        with self._mapping_errors(path):
            answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self.bucket, **arguments)
        return answer

    @contextmanager
    def _mapping_errors(self, path: str) -> Iterator[None]:
        """Map errors of the store and the library to failures that name host and path, or to Changed."""
        name = f"{self.host}:{path}"
        if self._aborted.is_set():
            raise ConnectionLost(self.host)
        try:
            yield
        except ClientError as error:
            raise _failure(error, name) from error
        except (BotoCoreError, HttpError, OSError) as error:
            raise _what_broke(error)(self.host) from error
        if self._aborted.is_set():  # what has come may be the beginning of it
            raise ConnectionLost(self.host)


def _what_broke(error: BaseException) -> type[MoveFailure]:
    """Return the failure of a connection error. The library itself detects a certificate for another name."""
    of_system = [each for each in _chain(error) if isinstance(each, OSError) and not isinstance(each, BotoCoreError)]
    if isinstance(error, SSLError) and all(isinstance(each, ssl.SSLCertVerificationError) for each in of_system):
        return CertificateRefused
    return Stalled if any(isinstance(each, TimeoutError) for each in of_system) else ConnectionLost


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _failure(error: ClientError, name: str) -> Exception:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status == 412 or code == "PreconditionFailed":
        return Changed(name)
    return _FAILURES.get(code, _FAILURES_BY_STATUS.get(status, HostFailed))(name)


@cache
def _session() -> botocore.session.Session:
    """Return the session, which caches the description of the interface. It ignores the user's configuration and the
    environment for Amazon's services."""
    none = {"config_file": (None, None, os.devnull, None), "credentials_file": (None, None, os.devnull, None)}
    return botocore.session.Session({"profile": (None, None, None, None), **none})


def _client(host: str, options: S3Options) -> Any:
    """Return a client that signs bodies, so that the store verifies the SHA-256 of every part."""
    config = Config(
        region_name=options.region,
        signature_version="s3v4",
        retries={"total_max_attempts": 1},
        proxies={},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path", "payload_signing_enabled": True},
    )
    return _session().create_client(
        "s3",
        endpoint_url=options.endpoint,
        aws_access_key_id=secret_of(host, "access_key", options.access_key),
        aws_secret_access_key=secret_of(host, "secret_key", options.secret_key),
        verify=_verified_by(options),
        config=config,
    )


def _http_session(options: S3Options) -> URLLib3Session:
    return URLLib3Session(
        verify=_verified_by(options),
        proxies={},
        timeout=(options.connect_timeout_seconds, options.idle_timeout_seconds),
        max_pool_connections=1 + options.streams,
    )


def _verified_by(options: S3Options) -> str | bool:
    return str(options.ca_file) if options.ca_file else True
