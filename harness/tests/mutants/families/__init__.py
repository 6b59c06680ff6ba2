"""What is planted into each loss family, one module per kind of loss, and the faults' functions beside it."""
