"""`python -m pipelines` is the command `two-tower`."""

from pipelines.cli.main import main

main()
