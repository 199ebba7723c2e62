"""`python -m evals`: the same front door as the `mergescale` command."""

from evals.app import run

run()
