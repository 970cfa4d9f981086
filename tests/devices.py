"""Where tests of what a GPU can do are run: on the CPU always, and on CUDA too where this machine has it."""

from pathlib import Path

CUDA = Path("/dev/nvidiactl").exists()
DEVICES = ("cpu", "cuda") if CUDA else ("cpu",)
