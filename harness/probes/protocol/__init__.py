"""Does it keep the protocol of a loss? Everything that a caller may do besides calling it once."""
