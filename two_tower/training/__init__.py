"""From pulled tables to two trained towers."""
