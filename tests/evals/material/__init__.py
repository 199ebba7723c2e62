"""Tests of the real material out of packages."""
