"""Tests of the room that compares what weights mean."""
