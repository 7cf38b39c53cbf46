"""Shared values: errors, locations, states."""
