"""Families that only third parties compute: their oracles, and a plain form of each beside the package's."""
