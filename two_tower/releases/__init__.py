"""What is deployed: immutable folders, where they lie, and how they reach a service."""
