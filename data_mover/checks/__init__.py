"""The checks of an installation: its configuration, its hosts."""
