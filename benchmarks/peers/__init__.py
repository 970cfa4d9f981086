"""Simple implementations for comparison."""
