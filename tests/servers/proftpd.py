"""A real ProFTPD with mod_sftp: an SFTP server in C that shares nothing with OpenSSH's."""

import getpass
import grp
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.openssh import SshServer, make_keys
from tests.servers.processes import free_port, program, running, started


@contextmanager
def proftpd_server(directory: Path) -> Iterator[SshServer]:
    """A server that lets in who has the key in the directory."""
    proftpd = program("proftpd")
    host_key, port, log = make_keys(directory), free_port(), directory / "proftpd.log"
    _authorize(directory)
    user = pwd.getpwuid(os.geteuid())
    (directory / "passwd").write_text(f"{user.pw_name}:x:{user.pw_uid}:{user.pw_gid}::{directory}:/bin/sh\n")
    group = grp.getgrgid(user.pw_gid).gr_name
    (directory / "group").write_text(f"{group}:x:{user.pw_gid}:\n")
    for name in ("passwd", "group"):
        (directory / name).chmod(0o600)
    config = directory / "proftpd.conf"
    config.write_text(_CONFIG.format(directory=directory, port=port, user=user.pw_name, group=group))
    with running([proftpd, "-n", "-c", str(config)], log) as process:
        started(process, port, log)
        yield SshServer(port, getpass.getuser(), directory / "user_key", host_key, process.pid)


def _authorize(directory: Path) -> None:
    """It wants the user's key in the format of RFC 4716."""
    export = [program("ssh-keygen"), "-e", "-m", "RFC4716", "-f", str(directory / "user_key.pub")]
    (directory / "authorized_rfc4716").write_bytes(subprocess.run(export, check=True, capture_output=True).stdout)


_CONFIG = """
ServerType standalone
DefaultAddress 127.0.0.1
SocketBindTight on
Port {port}
User {user}
Group {group}
ModulePath /usr/lib/proftpd
LoadModule mod_sftp.c
PidFile {directory}/proftpd.pid
ScoreboardFile {directory}/proftpd.scoreboard
DelayEngine off
WtmpLog off
SystemLog {directory}/proftpd.log
UseReverseDNS off
RootLogin on
RequireValidShell off
UseFtpUsers off
AuthOrder mod_auth_file.c
AuthUserFile {directory}/passwd
AuthGroupFile {directory}/group
AllowOverwrite on
MaxInstances 100
SFTPEngine on
SFTPHostKey {directory}/host_key
SFTPAuthorizedUserKeys file:{directory}/authorized_rfc4716
SFTPAuthMethods publickey
SFTPLog {directory}/sftp.log
"""
