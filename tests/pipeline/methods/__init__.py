"""Tests of the methods room: its shared parts, and what single methods promise beyond the laws."""
