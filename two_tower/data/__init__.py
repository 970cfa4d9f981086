"""Read training data from a Feast feature store, and write and read its online store."""
