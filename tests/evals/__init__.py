"""Tests of the evals wing, one module for each module of the code."""
