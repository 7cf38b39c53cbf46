"""Servers that speak WebDAV."""

from data_mover.backends.protocol import Protocol
from data_mover.backends.webdav.options import WebdavOptions

PROTOCOL = Protocol(
    WebdavOptions,
    backend="data_mover.backends.webdav.backend:WebdavFiles",
    check="data_mover.backends.webdav.check:WebdavCheck",
)
