"""A whole family, built for real from the smallest config: what is made, kept, named and shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from evals.app import main
from evals.family.command import command_for
from evals.family.config import load_family
from evals.family.index import grids, read_index
from pipeline.errors import ConfigError, InputError, OutputError, RunError
from tests.helpers.family_builds import build


def test_a_family_says_what_built_it(family_home: Path) -> None:
    """A family's folder knows its config wherever that lies; errors about the family give the command."""
    assert command_for(Path("family"), ["2M"]) == "mergescale family build tiny.yaml --size 2M"
    index = read_index(family_home / "family")
    (family_home / "elsewhere").mkdir()
    shutil.copy(family_home / "family" / "build.json", family_home / "elsewhere")
    with pytest.raises(InputError) as error:
        read_index(family_home / "elsewhere")
    assert error.value.hint == "build it: mergescale family build tiny.yaml"
    (family_home / "elsewhere" / "family.json").write_text(json.dumps(index | {"schema": 0}))
    with pytest.raises(InputError, match="another version") as error:
        read_index(family_home / "elsewhere")
    assert error.value.hint == "build it: mergescale family build tiny.yaml"


def test_the_index_lists_what_passed(family_home: Path) -> None:
    """Two bases with two experts and a multitask model each, all better than their base, paths that hold."""
    index = read_index(family_home / "family")
    assert [(base["name"], base["quality"]) for base in index["bases"]] == [
        ("weak", "weak"),
        ("strong", "strong"),
    ]
    for base in index["bases"]:
        assert set(base["experts"]) == {"colour", "size"}
        assert 100_000 < base["parameters"] < 250_000
        for member in (base, base["multitask"], *base["experts"].values()):
            assert (family_home / "family" / member["path"] / "config.json").is_file()
            assert len(member["weights_digest"]) == 32


def test_every_model_is_scored_where_it_counts(family_home: Path) -> None:
    """Base and multitask model have every task, an expert its own, base and experts the validation rows;
    beside them every task has the scores of guessing.
    """
    index = read_index(family_home / "family")
    for task in (task for suite in index["suites"] for task in suite["tasks"]):
        assert all(0 < task[guess] < 1 for guess in ("chance", "majority", "copy"))
    scores = [one for one in index["scores"] if one["base"] == "weak"]
    found = {(one["model"], one["suite"], one["task"]) for one in scores}
    tasks = [("held-in", "colour"), ("held-in", "size"), ("held-out", "size_again")]
    held = [("validation", "colour"), ("validation", "size")]
    assert found == {
        *(("base", *task) for task in (*tasks, *held)),
        *(("multitask", *task) for task in tasks),
        *((name, suite, name) for name in ("colour", "size") for suite in ("held-in", "validation")),
    }
    assert all(one["n"] == 40 for one in scores if one["suite"] == "held-in")


def test_nothing_is_done_twice(family_home: Path) -> None:
    """A finished family is read, not built: no unit runs, and the index is the same."""
    before = (family_home / "family" / "family.json").read_bytes()
    _, ran = build(load_family("tiny.yaml"))
    assert ran == []
    assert (family_home / "family" / "family.json").read_bytes() == before


def test_a_size_that_is_built_leaves_the_others_in_the_index(family_home: Path) -> None:
    """Size after size the index is that of the whole; a base whose models changed, or whose scores are of
    other tasks, is left out of it.
    """
    index = family_home / "family" / "family.json"
    before = index.read_bytes()
    text = (family_home / "tiny.yaml").read_text()
    (family_home / "sizes.yaml").write_text(text.replace("size: 0.2M", "size: small", 1))
    config = load_family("sizes.yaml")
    whole, ran = build(config)
    assert ran == []
    assert build(config.of_sizes(["small"]))[0] == build(config.of_sizes(["0.2M"]))[0] == whole
    changed = json.loads(index.read_bytes())
    changed["scores"][-1]["task_digest"] = "0" * 32
    index.write_text(json.dumps(changed))
    alone, _ = build(config.of_sizes(["small"]))
    index.write_text(json.dumps(whole))
    weights = family_home / "family/experts/strong/size/model.safetensors"
    weights.rename(weights.with_suffix(".gone"))
    again, _ = build(config.of_sizes(["small"]))
    weights.with_suffix(".gone").rename(weights)
    for one in (alone, again):
        assert [base["name"] for base in one["bases"]] == ["weak"]
        assert {score["base"] for score in one["scores"]} == {"weak"}
    build(load_family("tiny.yaml"))
    assert index.read_bytes() == before


def test_no_training_row_is_scored(family_home: Path) -> None:
    """Training, validation and scored rows of a category have no question in common."""

    def questions(path: Path) -> set[str]:
        return {json.loads(line)["question"] for line in path.read_text().splitlines()}

    data = family_home / "family" / "data"
    train = questions(data / "train" / "colour.jsonl")
    held = questions(data / "tasks" / "colour" / "colour.validation.jsonl")
    scored = questions(family_home / "colour" / "test.jsonl")
    assert train and held and not train & held and not (train | held) & scored


def test_the_commands_show_it(
    family_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`status` says what is there, `table` shows the scores with the gate; both write to stdout."""
    outputs = []
    for arguments in (["status", "tiny.yaml"], ["table", "tiny.yaml"], ["table", "tiny.yaml", "--json"]):
        monkeypatch.setattr("sys.argv", ["mergescale", "family", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        outputs.append(capfd.readouterr().out)
    assert "weak: base done, 3 of 3 experts" in outputs[0] and "all passed" in outputs[0]
    assert "colour passed: accuracy" in outputs[1]
    assert all(len(line) < 100 for line in outputs[1].splitlines())
    assert json.loads(outputs[2]) == read_index(family_home / "family")
    page = (family_home / "family" / "family.md").read_text()
    assert page.count("| other/size_again |") == 2 and page.count("`") == 2 * 8
    assert page.count("\n- size passed: accuracy") == 2


def test_the_table_says_what_guessing_scores(family_home: Path) -> None:
    """Beside every score stand chance and the share of the most frequent answer among the scored rows."""
    index = read_index(family_home / "family")
    for grid in grids(index):
        for row in grid.rows:
            kind = "size" if row[0] == "other/size_again" else row[0].split("/")[1]
            lines = (family_home / kind / "test.jsonl").read_text().splitlines()
            labels = [json.loads(line)["label"] for line in lines]
            share = max(labels.count(0), labels.count(1)) / len(labels)
            assert (row[2], row[3]) == ("0.500", f"{share:.3f}")
            assert row[-1] == ("–" if row[0].startswith("other/") else "yes")


def _noisy(out: Path, **more: int) -> Path:
    """A family file of one base whose only category is noise, to be built into `out`."""
    content = {
        "name": "noisy",
        "out": str(out),
        "suites": {"held-in": "noisy.yaml"},
        "bases": [{"name": "given", "size": "0.2M", "quality": "weak", "model": "family/bases/weak"}],
        "experts": {"settings": {"learning_rate": 1e-3, "limit": 32, "max_length": 32}},
    }
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content | more))
    return path


def test_the_gate_looks_at_all_validation_rows(family_home: Path, tmp_path: Path) -> None:
    """A limit is one of scored items: the gate's own rows are as many as `validation` says."""
    path = _noisy(tmp_path / "limited", validation=60, limit=10)
    with pytest.raises(RunError, match="not good enough"):
        build(load_family(path))
    scores = read_index(tmp_path / "limited")["scores"]
    assert {(one["suite"], one["n"]) for one in scores} == {("noisy", 10), ("validation", 60)}


def test_an_expert_that_learns_nothing_is_named(family_home: Path, tmp_path: Path) -> None:
    """Where answers are noise the build ends with RunError naming the expert, and the index leaves it out."""
    with pytest.raises(RunError, match="not good enough") as error:
        build(load_family(_noisy(tmp_path / "noisy")))
    assert error.value.where.startswith("given/noise: accuracy")
    (base,) = read_index(tmp_path / "noisy")["bases"]
    assert base["experts"] == {} and not base["gate"]["noise"]["passed"] and base["multitask"]
    assert Path(base["path"]) == (family_home / "family" / "bases" / "weak").resolve()


def test_suites_in_the_wrong_place_are_refused(family_home: Path, tmp_path: Path) -> None:
    """A held-out suite given as the held-in one is a ConfigError before anything is made."""
    content = yaml.safe_load((family_home / "tiny.yaml").read_text())
    content |= {"out": str(tmp_path / "out"), "suites": {"held-in": "held-out.yaml"}}
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="not held-in"):
        build(load_family(path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("held_in", "held_out", "why"),
    [
        ({"name": "validation"}, {}, 'a suite of a family cannot be called "validation"'),
        ({}, {"name": "held-in"}, "two suites are called"),
        ({"categories": "base"}, {}, 'a category cannot be called "base"'),
        ({"categories": "multitask"}, {}, 'a category cannot be called "multitask"'),
    ],
)
def test_names_that_a_family_uses_itself_are_refused(
    family_home: Path, tmp_path: Path, held_in: dict[str, str], held_out: dict[str, str], why: str
) -> None:
    """Suites and categories with names that would mix their scores up are refused before anything is made."""
    content = yaml.safe_load((family_home / "tiny.yaml").read_text()) | {
        "out": str(tmp_path / "out"),
        "suites": {},
    }
    for role, changes in (("held-in", held_in), ("held-out", held_out)):
        suite = yaml.safe_load((family_home / f"{role}.yaml").read_text()) | {"data_dir": str(family_home)}
        if "categories" in changes:
            changes = {"categories": {changes["categories"]: suite["categories"]["colour"]}}
        (tmp_path / f"{role}.yaml").write_text(yaml.safe_dump(suite | changes))
        content["suites"][role] = str(tmp_path / f"{role}.yaml")
    (tmp_path / "family.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=why):
        build(load_family(tmp_path / "family.yaml"))
    assert not (tmp_path / "out").exists()


def test_a_family_that_is_not_there_cannot_be_shown(tmp_path: Path) -> None:
    """Reading an index that nobody wrote, or another version's, is an InputError."""
    with pytest.raises(InputError, match="no family there"):
        read_index(tmp_path)
    (tmp_path / "family.json").write_text('{"schema": 0}')
    with pytest.raises(InputError, match="another version"):
        read_index(tmp_path)


@pytest.mark.parametrize("out", ["base", "base/family", "linked"])
def test_a_family_is_built_into_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    """Nothing of a family goes into a base that it reads, through a link neither: it is refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    (tmp_path / "linked").symlink_to("base")
    content = {
        "name": "f",
        "out": out,
        "suites": {"held-in": "none.yaml"},
        "bases": [{"name": "b", "size": "1M", "quality": "weak", "model": "base"}],
        "experts": {"settings": {}},
    }
    (tmp_path / "family.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(OutputError, match="overlaps an input model"):
        build(load_family(tmp_path / "family.yaml"))
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["config.json"]
