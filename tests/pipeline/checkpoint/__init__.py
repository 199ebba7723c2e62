"""Tests of the checkpoint room: bytes in, bytes out."""
