"""The use cases of callers and operators, with typed arguments and answers."""
