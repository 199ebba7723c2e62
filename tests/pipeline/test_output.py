"""What may lie at an output: apart from every input, whatever links lead there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.output import check_apart


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """`models/m` whose weights are a link to `store/weights`, a link `to-m`, and a directory beside them."""
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "weights").write_text("w")
    (tmp_path / "models" / "m" / "model.safetensors").symlink_to(tmp_path / "store" / "weights")
    (tmp_path / "to-m").symlink_to("models/m")
    (tmp_path / "beside").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "out", ["models/m", "models/m/deep/er", "models", ".", "to-m", "to-m/new", "beside/../models/m", "store"]
)
def test_an_output_overlaps_no_input(out: str, home: Path) -> None:
    """An output that is, holds or lies in a model directory, or holds a weight file of one, is refused and
    both are named.
    """
    model = home / "models" / "m"
    with pytest.raises(OutputError) as caught:
        check_apart(home / out, [home / "beside" / "other", model], [model / "model.safetensors"])
    assert caught.value.where == str(home / out)
    assert str(model) in caught.value.found and caught.value.hint


@pytest.mark.parametrize("out", ["models/m2", "models/other", "store/merged", "new/deep", "beside"])
def test_outputs_beside_the_inputs_are_fine(out: str, home: Path) -> None:
    """Only overlap counts: a directory beside a model, one whose name begins alike, one beside a weight
    file.
    """
    model = home / "models" / "m"
    check_apart(home / out, [model], [model / "model.safetensors"])
