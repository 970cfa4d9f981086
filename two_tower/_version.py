"""The version of the package, read by the Makefile too."""

__version__ = "0.1.0"
