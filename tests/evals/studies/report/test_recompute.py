"""The lines of docs/report.md that recompute a cell, run as they stand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from evals.studies.report.records import records_parquet
from evals.studies.tables.summary import summarise
from evals.studies.tables.values import Score
from tests.helpers import studies

DOC = Path(__file__).parents[4] / "docs" / "report.md"


def _of_run(score: Score, run: int) -> float:
    """A run's own value of an invented score."""
    assert score.value is not None
    return score.value * (1 + 0.1 * run * studies.hash_of(score.id))


@pytest.mark.parametrize("runs", [1, 2])
def test_documented_lines_give_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], runs: int
) -> None:
    """The page's ten lines of pandas give the table's mean, its spread and every seed's figure, with experts
    that were trained once or twice.
    """
    asked = tuple(studies.subjects(("1m", "4m"), (2, 4), (0, 1, 2), ("average", "ties")))
    scores = [
        replace(score, subject=replace(score.subject, run=run), value=_of_run(score, run))
        for run in range(runs)
        for score in studies.scores(asked, studies.questions())
        if not run or score.subject.kind != "base"
    ]
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "records.parquet").write_bytes(records_parquet(scores))
    monkeypatch.chdir(tmp_path)
    block = re.search(r"## Recompute a cell.*?```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert block and len([line for line in block[1].splitlines() if line]) <= 10
    names: dict[str, object] = {}
    exec(block[1], names)
    found = [
        one
        for one in summarise(scores, 0)
        if (one.role, one.subject.base, one.subject.method, one.subject.count)
        == ("held-in", "4m-weak", "ties", 4)
    ]
    assert len(found) == 1 and found[0].ratio
    by_seed = dict(names["by_seed"])  # type: ignore[call-overload]
    assert by_seed == pytest.approx(dict(found[0].by_seed), rel=1e-12)
    ratio = found[0].ratio
    assert capsys.readouterr().out == f"{ratio.value:.3f} ±{ratio.spread:.3f}\n"
