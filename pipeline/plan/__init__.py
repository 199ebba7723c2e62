"""Decide everything from headers and config, before a byte of weights is read. Imports no torch."""
