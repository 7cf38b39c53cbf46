"""What `sftp` and `scp` stand on: connection, host keys, logins."""
