"""Timings with their machine, versions and command. Never part of the test runs."""
