"""The record of every move: what was asked, how it stands, and who is at it."""
