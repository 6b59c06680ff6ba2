"""One file per question; each probe takes an open block and the name of an implementation."""
