"""What operators ask before they rely on an installation: its configuration, its hosts."""
