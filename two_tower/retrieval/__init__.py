"""Item embeddings, and the graph that finds the best of them."""
