"""The record of every move: what was asked, how it stands, and which worker runs it."""
