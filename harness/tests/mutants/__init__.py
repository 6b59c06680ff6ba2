"""Cross-entropy with one planted fault each: what the default sweep has to find by itself."""
