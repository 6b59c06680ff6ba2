"""How people compute each loss: plain functions, callable by hand."""
