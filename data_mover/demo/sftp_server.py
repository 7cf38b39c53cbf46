"""The SFTP server of the demo: one login key, one directory, on loopback only.

Run as `python -m data_mover.demo.sftp_server`; the end of its standard input does not end it, SIGTERM does.
"""

import asyncio
from pathlib import Path

import asyncssh
import click

ADDRESS = "127.0.0.1"


async def serve(port: int, directory: Path, host_key: Path, login_key: Path) -> None:
    """Serve until it is ended. `login_key` is the public key of the one user, who may have any name."""
    server = await asyncssh.listen(
        ADDRESS,
        port,
        server_host_keys=[str(host_key)],
        authorized_client_keys=str(login_key),
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=bytes(directory)),
    )
    await server.wait_closed()


@click.command()
@click.option("--port", type=int, required=True)
@click.option(
    "--directory", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path), required=True
)
@click.option("--host-key", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--login-key", type=click.Path(exists=True, path_type=Path), required=True)
def main(port: int, directory: Path, host_key: Path, login_key: Path) -> None:
    """Serve DIRECTORY to the owner of the private half of LOGIN_KEY."""
    asyncio.run(serve(port, directory, host_key, login_key))


if __name__ == "__main__":
    main()
