"""An object store that speaks S3: Ceph's gateway over a cluster of one disk in memory, as many institutes run it."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.servers.processes import LOOPBACK, free_port, program, running, started

ACCESS_KEY = "DATAMOVERTEST"
SECRET_KEY = "a secret of the tests"

_MAKE_CERTIFICATE = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out tls.pem"
_CERTIFICATE = "ssl_certificate={0}/tls.pem ssl_private_key={0}/key.pem"
_CONFIGURATION = """
[global]
fsid = {cluster}
mon host = [v2:127.0.0.1:{monitor_port},v1:127.0.0.1:{old_monitor_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {directory}
admin socket =
keyring = {directory}/keyring
mon data = {directory}/mon
osd data = {directory}/osd
rgw data = {directory}/rgw
log file = /dev/null
mon cluster log file = /dev/null
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
rgw frontends = beast tcp_nodelay=1 {frontend}
rgw run sync thread = false
rgw enable gc threads = false
rgw enable lc threads = false
"""


@dataclass(frozen=True)
class S3Server:
    port: int
    tls_port: int
    #: where the files with its keys are, and its certificate, `tls.pem`
    directory: Path
    #: what the owner of its buckets works with
    owner: Any

    def options(self, bucket: "Bucket", /, **changes: Any) -> dict[str, Any]:
        """What a registry says of a bucket of it."""
        table = {
            "protocol": "s3",
            "endpoint": f"http://{LOOPBACK}:{self.port}",
            "bucket": bucket.name,
            "access_key": f"file:{self.directory}/access_key",
            "secret_key": f"file:{self.directory}/secret_key",
            "root": "/",
            "roles": ["source", "destination"],
        }
        return table | changes

    def make_bucket(self, name: str) -> "Bucket":
        self.owner.create_bucket(Bucket=name)
        return Bucket(self.owner, name)


@dataclass(frozen=True)
class Bucket:
    """A bucket, or what is below a key in it, as its owner sees it: with the names and ways of a `Path`."""

    client: Any
    name: str
    key: str = ""

    def __truediv__(self, name: str) -> "Bucket":
        return replace(self, key=f"{self.key}/{name}".lstrip("/"))

    def read_bytes(self) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=self.key)["Body"].read()

    def write_bytes(self, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=self.key, Body=content)

    def set_modified(self, modified_at: float) -> None:
        """As programs do that keep the time of a file with its object."""
        metadata = {"mtime": str(modified_at)}
        self.client.put_object(Bucket=self.name, Key=self.key, Body=self.read_bytes(), Metadata=metadata)

    def unlink(self) -> None:
        self.client.delete_object(Bucket=self.name, Key=self.key)

    def exists(self) -> bool:
        try:
            self._head()
        except ClientError:
            return False
        return True

    def open(self, mode: str) -> Any:
        """The bytes as they were when it was opened."""
        return self.client.get_object(Bucket=self.name, Key=self.key)["Body"]

    def mkdir(self) -> None:
        """What the programs of stores make where one asks for an empty directory."""
        self.client.put_object(Bucket=self.name, Key=f"{self.key}/", Body=b"")

    def stat(self) -> SimpleNamespace:
        head = self._head()
        return SimpleNamespace(st_size=head["ContentLength"], st_mtime=float(head["Metadata"]["mtime"]))

    def names(self) -> list[str]:
        """All keys, and the keys of unfinished uploads."""
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [each["Key"] for each in [*found, *self.uploads()]]

    def keep_versions(self) -> None:
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})

    def changes(self) -> int:
        """How often this key has been given something, in a bucket that keeps versions."""
        versions = self.client.list_object_versions(Bucket=self.name, Prefix=self.key)["Versions"]
        return sum(each["Key"] == self.key for each in versions)

    def uploads(self) -> list[dict[str, Any]]:
        """Those that are neither completed nor aborted."""
        return self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])

    def _head(self) -> dict[str, Any]:
        return self.client.head_object(Bucket=self.name, Key=self.key)


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """A store with one user; it takes about 15 s to start."""
    monitor_port, old_monitor_port, port, tls_port = (free_port() for _ in range(4))
    cluster, disk = str(uuid.uuid4()), str(uuid.uuid4())
    configuration = directory / "ceph.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            cluster=cluster,
            directory=directory,
            monitor_port=monitor_port,
            old_monitor_port=old_monitor_port,
            frontend=f"endpoint={LOOPBACK}:{port} ssl_endpoint={LOOPBACK}:{tls_port} {_CERTIFICATE}".format(directory),
        )
    )
    environment = {**os.environ, "CEPH_CONF": str(configuration)}
    for name in ("mon", "osd", "rgw"):
        (directory / name).mkdir()

    for name, text in (("access_key", ACCESS_KEY), ("secret_key", SECRET_KEY)):
        (directory / name).touch(mode=0o600)
        (directory / name).write_text(text)

    def run(name: str, *arguments: str) -> None:
        ended = subprocess.run(
            [program(name), *arguments], env=environment, cwd=directory, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stderr

    run("openssl", *_MAKE_CERTIFICATE.split())
    addresses = f"[v2:{LOOPBACK}:{monitor_port},v1:{LOOPBACK}:{old_monitor_port}]"
    run("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    run(
        "ceph-authtool",
        "keyring",
        "--gen-key",
        "-n",
        "client.admin",
        *["--cap", "mon"],
        "allow *",
        *["--cap", "osd"],
        "allow *",
    )
    run("monmaptool", "--create", "--clobber", "--addv", "a", addresses, "--fsid", cluster, "monmap")
    run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
    with ExitStack() as stack:
        log = directory / "ceph.log"
        monitor = stack.enter_context(
            running([program("ceph-mon"), "-i", "a", "-f"], log, env=environment, cwd=directory)
        )
        started(monitor, old_monitor_port, log)
        run("ceph", "osd", "new", disk)
        run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        stack.enter_context(running([program("ceph-osd"), "-i", "0", "-f"], log, env=environment, cwd=directory))
        keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
        run("radosgw-admin", "user", "create", "--uid", "tests", "--display-name", "tests", *keys)
        gateway = stack.enter_context(
            running([program("radosgw"), "-f", "-n", "client.admin"], log, env=environment, cwd=directory)
        )
        started(gateway, port, log)
        with closing(_client(port)) as client:
            yield S3Server(port, tls_port, directory, client)


def _client(port: int) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://{LOOPBACK}:{port}",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}),
    )
