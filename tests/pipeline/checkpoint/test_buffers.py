"""Buffers that files are read into."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from pipeline.checkpoint.buffers import page_buffer


@pytest.mark.parametrize("size_bytes", [1, 4096, (4 << 20) + 8])
def test_a_buffer_begins_where_a_page_does(size_bytes: int) -> None:
    """So does a file read from its first byte on, which makes the copy fast; all bytes are there."""
    buffer = page_buffer(size_bytes)
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0
    assert len(buffer) == size_bytes and not any(buffer[:4096]) and not buffer.readonly
