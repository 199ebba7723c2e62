"""Tests of one unit of work: reading ahead, lanes, rounds, writing, sealing."""
