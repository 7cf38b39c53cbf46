"""What `sftp` and `scp` share: connection, host keys, logins."""
