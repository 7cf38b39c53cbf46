"""The use cases: what callers may ask, typed in and typed out."""
