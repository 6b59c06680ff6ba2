"""The truth about a loss: value and gradient on the stored inputs, with what multiplies u."""
