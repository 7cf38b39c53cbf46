"""A whole deployment on one machine, started and shown by one command."""
