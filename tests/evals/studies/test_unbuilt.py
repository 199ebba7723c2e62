"""A family that is not built, or not wholly: the error carries the command that builds what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evals.studies.config import load_study
from pipeline.errors import ConfigError, InputError
from tests.helpers.study_files import write_family_index, write_study, write_suites

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_suites(tmp_path)


def test_a_family_that_is_not_built_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an index the hint is the command that builds it, with CONFIG where no config is known."""
    with pytest.raises(InputError, match="no family there") as error:
        load_study(write_study(tmp_path, bases=None, family="f", sizes=["1M"]))
    command = "build it: mergescale family build"
    assert error.value.where == "f"
    assert error.value.hint == f"{command} CONFIG --size 1M, where CONFIG has `out: f`"
    Path("configs").symlink_to(ROOT / "configs")
    changes: dict[str, Any] = {"bases": None, "data": "sets", "skip_missing": True}
    with pytest.raises(InputError) as error:
        load_study(write_study(tmp_path, **changes, family="family/t0-135m"))
    assert error.value.hint == f"{command} configs/family/t0-135m.yaml --data sets --skip-missing"
    monkeypatch.setenv("T0_DATA", "/data")
    with pytest.raises(InputError) as error:
        load_study(ROOT / "configs/studies/quick.yaml")
    assert error.value.hint == f"{command} configs/family/miniature.yaml --size 1M"


def test_a_size_that_is_not_built_names_the_command(tmp_path: Path) -> None:
    """A size that only the family's config has is to be built; for a misspelt one the nearest is named."""
    write_family_index(Path("family/miniature"), {"a": ("1M", "weak")})
    changes: dict[str, Any] = {"bases": None, "family": "family/miniature"}
    hints = []
    for size in ("16M", "1m"):
        with pytest.raises(ConfigError) as error:
            load_study(write_study(tmp_path, **changes, sizes=["1M", size]))
        assert error.value.where.endswith("sizes[1]")
        hints.append(error.value.hint)
        Path("configs").unlink(missing_ok=True)
        Path("configs").symlink_to(ROOT / "configs")
    assert hints[0].endswith("CONFIG --size 16M, where CONFIG has `out: family/miniature`")
    assert "1M" in hints[1] and "build" not in hints[1]
    with pytest.raises(ConfigError) as error:
        load_study(write_study(tmp_path, **changes, sizes=["16M"]))
    assert (
        error.value.hint == "not built yet: mergescale family build configs/family/miniature.yaml --size 16M"
    )
