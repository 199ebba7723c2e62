"""Where fetched things are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.checkpoint.cache import cache_dir


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$MERGESCALE_CACHE names the cache; without it, it lies in the home directory."""
    monkeypatch.setenv("MERGESCALE_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("MERGESCALE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "mergescale"
