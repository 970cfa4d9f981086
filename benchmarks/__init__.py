"""Benchmarks, one command per file: `python -m benchmarks.NAME [--json F] [--quick]`."""
