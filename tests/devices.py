"""Devices of the tests: the CPU, and CUDA if the machine has a GPU."""

from pathlib import Path

CUDA = Path("/dev/nvidiactl").exists()
DEVICES = ("cpu", "cuda") if CUDA else ("cpu",)
