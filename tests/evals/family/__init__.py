"""Tests of families of models."""
