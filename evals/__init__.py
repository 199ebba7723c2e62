"""Measuring: suites, lm-eval as units of work, typed records, normalised tables."""
