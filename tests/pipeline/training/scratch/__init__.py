"""Tests of base models from scratch."""
