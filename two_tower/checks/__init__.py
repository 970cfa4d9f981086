"""What the data must be: the gate before training, leaks, drift, and skew between training and serving."""
