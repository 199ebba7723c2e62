"""`python -m evals`: the same front door as the `mergescale` command."""

from evals.app import main

main()
