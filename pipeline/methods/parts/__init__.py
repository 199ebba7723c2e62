"""Arithmetic that several methods share: pure functions on one block. No files, no state, torch is lazy."""
