"""Configs that cannot be meant: each is one ConfigError that says where, what was found, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.config.load import load_config
from pipeline.errors import ConfigError
from tests.helpers.toy_methods import toys

pytestmark = pytest.mark.usefixtures("toys")
__all__ = ["toys"]

FIELDS = ("what", "expected", "found", "hint")
TIES = "merge_method: ties\nbase_model: base\n"
CASES: dict[str, dict[str, str]] = yaml.safe_load(
    (Path(__file__).parent / "configs" / "wrong.yaml").read_text()
)


@pytest.mark.parametrize("case", CASES)
def test_wrong_configs(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mistake is refused at its own place, with what was expected, what was found, and the way out."""
    wrong = CASES[case]
    assert wrong.keys() <= {"config", "where", *FIELDS}
    monkeypatch.chdir(tmp_path)
    Path("base").mkdir()
    Path("merge.yaml").write_text(wrong["config"])
    with pytest.raises(ConfigError) as caught:
        load_config("merge.yaml")
    error = caught.value
    assert error.where == (f"merge.yaml: {wrong['where']}" if "where" in wrong else "merge.yaml")
    for field in FIELDS:
        assert wrong.get(field, "") in getattr(error, field), field
    assert error.exit_code == 2


def test_aliases_that_explode_do_not(tmp_path: Path) -> None:
    """A few lines that stand for a billion values, or for themselves, are refused at once."""
    bomb = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 31)]
    bomb_weight = "\n".join(["models: [{model: a, parameters: {weight: *a30}}]", "merge_method: linear"])
    own_weight = "merge_method: linear\nmodels: [{model: a, parameters: {weight: &w [*w]}}]"
    for text, where in {
        "merge_method: linear\n" + "\n".join(bomb): ": a6[3]",
        own_weight: ": models[0].parameters.weight[0]",
        "merge_method: linear\nmodels: &m [*m]": ": models[0]",
        "\n".join([*bomb, bomb_weight]): ": a6[3]",
    }.items():
        path = tmp_path / "m.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert caught.value.where == f"{path}{where}"


def test_the_message_as_people_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One snapshot: what, where, expected, found and hint, each on its own line."""
    monkeypatch.chdir(tmp_path)
    Path("merge.yaml").write_text(TIES + "models:\n- {model: a, parameters: {weight: 1, density: 20}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config("merge.yaml")
    assert str(caught.value).splitlines() == [
        '"density" is out of range',
        "  where:    merge.yaml: models[0].parameters.density",
        "  expected: a finite number from 0.0 to 1.0",
        "  found:    20",
    ]
