"""Closed forms of the built-in families."""
