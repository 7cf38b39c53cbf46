"""Real servers for tests, on free loopback ports, each ended by its pid."""
