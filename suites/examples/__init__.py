"""Worked numbers from texts and the identities that tie the definitions together."""
