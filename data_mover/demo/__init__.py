"""A whole deployment on one machine, started by one command."""
