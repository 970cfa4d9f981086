"""One folder of ordinary Feast definitions per data set; a run works on a copy, next to its data."""
