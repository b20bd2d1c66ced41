"""`python -m pipelines.cli`, which `torchrun` needs."""

from pipelines.cli import main

main()
