"""Tests of the demo's real material."""
