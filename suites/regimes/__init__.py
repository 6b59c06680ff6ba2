"""Input distributions that several families share."""
