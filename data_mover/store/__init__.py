"""The record of every move: the request, its state, and which worker runs it."""
