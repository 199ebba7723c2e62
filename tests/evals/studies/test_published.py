"""Published records: whoever has the file alone gets every table, verdict and page of the study anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from evals.setting import Setting
from evals.studies.cli import study
from evals.studies.order import prepare
from evals.studies.published import read_published
from evals.studies.report.records import read_records
from evals.studies.reporting import publish_study, report_records, report_study
from evals.studies.run import Running, run_study
from evals.studies.state import read_state, scores_of
from pipeline.errors import InputError, OutputError
from tests.helpers.inline import InlineExecutor
from tests.helpers.study_models import small_study, write_files

PUBLISHED = sorted((Path(__file__).parents[3] / "docs" / "studies").glob("*/records.parquet"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """The folder of a study that was run to its end, one hole in it, and published to `published`."""
    folder = tmp_path_factory.mktemp("finished")
    write_files(folder, models)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = small_study(folder, seeds=[0, 1])
        run_study(prepare(config, Setting(), print), Running(InlineExecutor, print))
        lost = next(one for one in read_state(config.out).asked if one.subject.kind == "merge")
        (config.out / "scores" / "records" / f"{lost.key}.json").unlink()
        (config.out / "failures.json").write_text(json.dumps({lost.key: f"no answer from {folder}/x"}))
        publish_study(config.out, Path("published"))
    return folder


@pytest.fixture
def records(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published file, copied to where nothing else is: the current directory."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "records.parquet"
    copy.write_bytes((finished / "published" / "records.parquet").read_bytes())
    return copy


def invoke(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(study, [str(one) for one in arguments])


def test_the_records_alone_give_the_report_byte_for_byte(finished: Path, records: Path) -> None:
    """Pages, figures, cells and records that are computed anew from the file are those of the study."""
    page = report_records(records, records.parent / "again")
    theirs = finished / "out" / "report"
    names = sorted(str(path.relative_to(theirs)) for path in theirs.rglob("*") if path.is_file())
    assert len(names) > 8 and "report.md" in names and page.name == "index.html"
    for name in names:
        assert (page.parent / name).read_bytes() == (theirs / name).read_bytes(), name


def test_the_records_hold_every_score(finished: Path, records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every score of the study with its items is in them, and every hole with its reason; the cells name
    only records that are there.
    """
    _, found, _ = read_published(records)
    monkeypatch.chdir(finished)
    own = {(one.subject, one.question): one for one in scores_of(Path("out"), read_state(Path("out")))}
    assert len(own) == len(found)
    holes = [one for one in found if one.value is None]
    assert len(holes) == 1 and holes[0].why == "no answer from x", "a path of this machine is cut"
    assert all(one == own[one.subject, one.question] for one in found if one.value is not None)
    cells = json.loads((finished / "published" / "cells.json").read_text())
    ids = {one.id for one in found}
    assert cells and all(ids.issuperset(cell["records"]) for cell in cells)
    assert (finished / "published" / "study.yaml").read_text() == (finished / "study.yaml").read_text()


def test_no_path_of_the_machine_is_published(finished: Path) -> None:
    """Neither the folder that the study ran in nor that of its models is in a published file."""
    state, _, _ = read_published(finished / "published" / "records.parquet")
    assert state.models and all(not Path(path).is_absolute() for _, path, _ in state.models)
    for path in (finished / "published").iterdir():
        text = path.read_bytes()
        if path.suffix == ".parquet":
            metadata = pq.read_schema(path).metadata
            text = b"".join(metadata.values()) + str(pq.read_table(path).to_pylist()).encode()
        assert str(finished).encode() not in text and b"/dev/shm" not in text and b"/tmp" not in text


def test_records_of_before_runs_were_known_are_of_run_0(records: Path) -> None:
    """A file without the column `run` is read, all its rows as run 0."""
    table = pq.read_table(records)
    older = table.drop_columns(["run"])
    pq.write_table(older, "older.parquet")
    assert read_published(Path("older.parquet")) == read_published(records)


def _without_study(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({})


def _other_study(**facts: Any) -> Any:
    def changed(table: pa.Table) -> pa.Table:
        (key,) = table.schema.metadata
        said = json.loads(table.schema.metadata[key])
        return table.replace_schema_metadata({key: json.dumps({**said, **facts})})

    return changed


def _column(name: str, values: pa.Array) -> Any:
    return lambda table: table.set_column(table.column_names.index(name), name, values(table))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_without_study, "from before they were published"),
        (_other_study(schema=9), "cannot be read"),
        (_other_study(facts={}), "cannot be read"),
        (_other_study(facts=[]), "cannot be read"),
        (_other_study(costs=[{"kind": "merge"}]), "cannot be read"),
        (_other_study(models=[1]), "cannot be read"),
        (lambda table: table.drop_columns(["items"]), "no records of a study"),
        (_column("value", lambda t: pa.array(["high"] * t.num_rows)), "no records of a study"),
        (_column("kind", lambda t: pa.array(["king"] * t.num_rows)), "no records of a study"),
        (_column("task", lambda t: pa.array([None] * t.num_rows, pa.string())), "no records of a study"),
    ],
)
def test_other_files_are_refused(records: Path, change: Any, what: str) -> None:
    """Records that lack what a report needs, or say what no score can be, are an InputError with the file."""
    pq.write_table(change(pq.read_table(records)), "changed.parquet")
    with pytest.raises(InputError, match=what) as error:
        report_records(Path("changed.parquet"), Path("again"))
    assert error.value.where == "changed.parquet" and error.value.hint
    assert not Path("again").exists()


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"name: x\n" * 100])
def test_what_is_no_parquet_is_refused(raw: bytes) -> None:
    """Bytes that are no Parquet file are an InputError, not a traceback of the reader's."""
    with pytest.raises(InputError, match="no records of a study"):
        read_records(raw, "there")


def test_the_commands_publish_and_rebuild(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`publish` names what it wrote; `report RECORDS --out DIR` writes the page there and nowhere else."""
    monkeypatch.chdir(finished)
    done = invoke("publish", "study.yaml", "docs/small")
    assert done.exit_code == 0, done.output
    names = ("records.parquet", "cells.json", "study.yaml")
    assert done.stdout.split() == [f"docs/small/{name}" for name in names]
    assert invoke("publish", "study.yaml", "docs/small").exit_code == 0, "what is ours is written anew"
    rebuilt = invoke("report", "docs/small/records.parquet", "--out", "rebuilt")
    assert rebuilt.stdout == "rebuilt/index.html\n"
    assert sorted(path.name for path in Path("docs/small").iterdir()) == sorted(names)
    assert invoke("report", "docs/small/records.parquet").exit_code == 2
    assert invoke("report", "study.yaml", "--out", "elsewhere").stdout == "elsewhere/index.html\n"


def test_nothing_of_others_is_written_over(finished: Path, records: Path) -> None:
    """Neither a report nor publishing touches a directory that holds something else, or the records read."""
    Path("theirs").mkdir()
    Path("theirs/study.yaml").write_text("mine")
    with pytest.raises(OutputError, match="something else lies there"):
        report_records(records, Path("theirs"))
    with pytest.raises(OutputError, match="something else lies there"):
        publish_study(finished / "out", Path("theirs"))
    with pytest.raises(OutputError, match="something else lies there"):
        report_study(finished / "out", Path("theirs"))
    with pytest.raises(OutputError, match="over the records"):
        report_records(records, records.parent)
    assert Path("theirs/study.yaml").read_text() == "mine"


def test_a_study_is_published_when_it_is_finished(files: Path) -> None:
    """Scores that are not measured yet are named; nothing is written."""
    config = small_study(files, seeds=[0], tune=None, methods={"averaging": {"merge_method": "linear"}})

    class Ending(InlineExecutor):
        def run(self, units: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(prepare(config, Setting(), print), Running(Ending, print))
    with pytest.raises(InputError, match="not finished") as error:
        publish_study(config.out, Path("published"))
    assert "not measured yet" in error.value.found and not Path("published").exists()


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda path: path.parent.name)
def test_the_records_of_the_docs_give_their_cells(file: Path, tmp_path: Path) -> None:
    """Every study under docs/studies is computed anew from its records: the same cells, all records there."""
    report_records(file, tmp_path / "report")
    assert (tmp_path / "report" / "cells.json").read_bytes() == (file.parent / "cells.json").read_bytes()
    assert file.stat().st_size < 4 << 20
