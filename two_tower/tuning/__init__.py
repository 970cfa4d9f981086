"""The search for settings: a space, a study that can be broken off, and the same space for Katib."""
