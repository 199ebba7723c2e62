"""Tests of the cluster wing, one module for each module of the code."""
