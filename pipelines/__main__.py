"""`python -m pipelines` is the command `two-tower`."""

from pipelines.cli import main

main()
