"""From a feature store to tables: what is read as of each interaction, and what is kept online."""
