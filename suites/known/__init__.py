"""True findings of released implementations, with reason and upstream issue."""
