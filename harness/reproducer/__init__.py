"""A finding as a script of its own: the rows that show it, the copied source, the call, the assertion."""
