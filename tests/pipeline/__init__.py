"""Tests of the pipeline wing, one module for each module of the code."""
