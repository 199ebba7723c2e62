"""Study files: read strictly, errors that say where; families and lists of bases; those we ship load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evals.studies.config import load_study
from evals.studies.grid import merges
from evals.suites import load_suite
from pipeline.errors import ConfigError
from tests.helpers.study_files import CATEGORIES, base, write_family_index, write_study, write_suites
from tests.helpers.tasks import choice_task, write_suite

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "configs" / "studies").glob("*.yaml"))
TUNED = {"task-arithmetic": {"merge_method": "task_arithmetic", "tune": {"lambda": [0.3, 1]}}}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_suites(tmp_path)


def method(**entry: Any) -> dict[str, Any]:
    """Changes that leave a study one method, of TIES unless said otherwise."""
    return {"methods": {"m": {"merge_method": "ties"} | entry}}


def with_expert(category: str, model: str = "m/x") -> dict[str, Any]:
    """Changes that give the base one more expert, or another."""
    return {"bases": [base("a", experts={"colour": "m/a/colour", category: model})]}


@pytest.mark.parametrize(
    ("changes", "where", "hint"),
    [
        ({"method": {}}, "method", "methods"),
        ({"name": "a/b"}, "name", ""),
        ({"out": None}, "", ""),
        ({"out": ""}, "out", ""),
        ({"suites": {"held-in": "held-out.yaml"}}, "suites.held-in", ""),
        ({"suites": {"held-in": "held-in.yaml", "held-out": "held-in.yaml"}}, "suites.held-out", ""),
        ({"suites": {"held-inn": "held-in.yaml"}}, "suites.held-inn", "held-in"),
        ({"data": "${NO_SUCH_VARIABLE}"}, "data", "NO_SUCH_VARIABLE"),
        ({"skip_missing": "yes"}, "skip_missing", ""),
        ({"family": "family"}, "", ""),
        ({"bases": None}, "", ""),
        ({"bases": []}, "bases", ""),
        ({"bases": [base("a"), base("a")]}, "bases[1].name", ""),
        ({"bases": [base("a", experts={})]}, "bases", ""),
        ({"bases": [base("a", parameter=1)]}, "bases[0].parameter", "parameters"),
        ({"bases": [base("a", parameters=1.5)]}, "bases[0].parameters", ""),
        ({"bases": [base("a", parameters=True)]}, "bases[0].parameters", ""),
        ({"bases": [base("a", parameters=1e30)]}, "bases[0].parameters", ""),
        ({"bases": [base("a", model="${NO_SUCH_VARIABLE}/a")]}, "bases[0].model", "NO_SUCH_VARIABLE"),
        (with_expert("colours"), "bases[0].experts.colours", "colour"),
        (with_expert("size", "m/a/colour"), "bases[0].experts.size", "bases[0].experts.colour"),
        (with_expert("size", "m/a/base"), "bases[0].experts.size", ""),
        ({"bases": [base("a", multitask="m/a/base")]}, "bases[0].multitask", "bases[0].model"),
        ({"bases": [base("a", multitask="m/a/size")]}, "bases[0].multitask", "bases[0].experts.size"),
        (
            {"bases": [base("a"), base("b", size="8B", experts={"size": "m/a/size"})]},
            "bases[1].experts.size",
            "bases[0].experts.size",
        ),
        ({"bases": [base("a"), base("b")]}, "bases", "quality"),
        ({"suites": {"held-in": "held-inn.yaml"}}, "suites.held-in", "held-in.yaml"),
        ({"suites": {"held-in": "taken.yaml"}}, "suites.held-in", "rename"),
        ({"sizes": ["1b"]}, "sizes[0]", "1B"),
        ({"sizes": []}, "sizes", ""),
        ({"categories": ["colour", "colour"]}, "categories[1]", ""),
        ({"categories": ["shapes", "size"]}, "categories[0]", "shape"),
        ({"methods": {}}, "methods", ""),
        ({"methods": {"a b": {"merge_method": "linear"}}}, "methods", ""),
        ({"experts": [2, 5]}, "experts[1]", ""),
        ({"experts": [4, 2]}, "experts", ""),
        ({"experts": [2, 2]}, "experts", ""),
        ({"experts": [0, 2]}, "experts[0]", ""),
        ({"experts": []}, "experts", ""),
        ({"seeds": [0, True]}, "seeds[1]", ""),
        ({"seeds": [1, 1]}, "seeds", ""),
        ({"seeds": [0, 2**63]}, "seeds[1]", ""),
        ({"compare": ["expert"]}, "compare[0]", "experts"),
        ({"compare": ["best-expert"]}, "compare", ""),
        ({"scored": "merge"}, "scored", "merged"),
        ({"limit": 0}, "limit", ""),
        ({"limits": {"colour-tsk": 3}}, "limits.colour-tsk", "colour-task"),
        ({"limits": {"other": 0}}, "limits.other", ""),
        ({"by_size": {"1b": {"limit": 3}}}, "by_size.1b", "1B"),
        ({"by_size": {"1B": {"limits": 3}}}, "by_size.1B.limits", "limit"),
        ({"by_size": {"1B": {"limit": 0}}}, "by_size.1B.limit", ""),
        ({"keep": 1}, "keep", ""),
        ({"bootstrap": -1}, "bootstrap", ""),
        ({"bootstrap": 1}, "bootstrap", ""),
        ({"bootstrap": 10**12}, "bootstrap", ""),
        (
            {"bases": [base("a"), base("b", quality="it", model="m/a/base")]},
            "bases[1].model",
            "bases[0].model",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], where: str, hint: str) -> None:
    """A wrong, missing or contradictory key is a ConfigError with the path in the file and the near name."""
    write_suite(tmp_path / "taken.yaml", {"base": [choice_task("b")]})
    path = write_study(tmp_path, **changes)
    with pytest.raises(ConfigError) as error:
        load_study(path)
    assert error.value.where == (f"{path}: {where}" if where else str(path))
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("changes", "where", "hint"),
    [
        (method(merge_method="tie"), "methods.m.merge_method", "ties"),
        (method(parameter={}), "methods.m.parameter", "parameters"),
        (method(parameters={"densty": 0.2}), "methods.m.parameters.densty", "density"),
        (method(parameters={"density": 2}), "methods.m.parameters.density", ""),
        (method(parameters={"rescale": "yes"}), "methods.m.parameters.rescale", ""),
        (method(parameters={"gamma": 0.01}), "methods.m.parameters.gamma", "the same"),
        (method(parameters={"seed": 3}), "methods.m.parameters.seed", "`seeds` of the study"),
        (method(tune={"seed": [1, 2]}), "methods.m.tune.seed", "`seeds` of the study"),
        (method(tune={"densty": [0.1, 0.2]}), "methods.m.tune.densty", "density"),
        (method(tune={"density": [0.1, 2]}), "methods.m.tune.density[1]", ""),
        (method(tune={"density": [0.1, "0.2"]}), "methods.m.tune.density[1]", "quotes"),
        (method(tune={"density": [0.1, [0.1, 0.2]]}), "methods.m.tune.density[1]", ""),
        (method(tune={"density": [0.1, {"filter": "mlp", "value": 0.2}]}), "methods.m.tune.density[1]", ""),
        (method(tune={"density": [1, 1.0]}), "methods.m.tune.density[1]", ""),
        (method(tune={"density": [0.1]}), "methods.m.tune.density", "parameters"),
        (method(tune={"density": 0.1}), "methods.m.tune.density", ""),
        (method(tune={}), "methods.m.tune", ""),
        (
            method(parameters={"density": 0.1}, tune={"density": [0.1, 0.2]}),
            "methods.m.parameters",
            "one place",
        ),
    ],
)
def test_methods_are_read_by_the_rules_of_merge_configs(
    tmp_path: Path, changes: dict[str, Any], where: str, hint: str
) -> None:
    """A method, a parameter or a tuned value that no merge config could have is named with its place."""
    path = write_study(tmp_path, tune={"suite": "validation.yaml"}, **changes)
    with pytest.raises(ConfigError) as error:
        load_study(path)
    assert error.value.where == f"{path}: {where}"
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("changes", "where", "hint"),
    [
        ({"methods": TUNED}, "tune", "fix the parameters"),
        ({"methods": TUNED, "tune": {"limit": 5}}, "tune", "fix the parameters"),
        ({"methods": TUNED, "tune": {"suit": "validation.yaml"}}, "tune.suit", "suite"),
        ({"methods": TUNED, "tune": {"suite": "held-in.yaml"}}, "tune.suite", ""),
        ({"methods": TUNED, "tune": {"suite": "held-out.yaml"}}, "tune.suite", ""),
        ({"methods": TUNED, "tune": {"suite": "short.yaml"}}, "tune.suite", "sizes"),
        ({"methods": TUNED, "tune": {"suite": "validaton.yaml"}}, "tune.suite", "validation.yaml"),
        ({"methods": TUNED, "tune": {"suite": "validation.yaml"}, "compare": []}, "compare", ""),
        ({"methods": TUNED, "tune": {"suite": "validation.yaml", "limit": 0}}, "tune.limit", ""),
        ({"methods": TUNED, "tune": {"suite": "validation.yaml", "seed": -1}}, "tune.seed", ""),
        ({"tune": {"suite": "validation.yaml"}}, "tune", ""),
    ],
)
def test_tuning_needs_values_and_rows_of_its_own(
    tmp_path: Path, changes: dict[str, Any], where: str, hint: str
) -> None:
    """Values without validation rows, rows without values, and rows that are reported are all refused."""
    write_suite(tmp_path / "short.yaml", {"colour": [choice_task("c")], "sizes": [choice_task("s")]})
    path = write_study(tmp_path, **changes)
    with pytest.raises(ConfigError) as error:
        load_study(path)
    assert error.value.where == f"{path}: {where}"
    assert hint in error.value.hint


def test_what_is_not_written_has_its_default(tmp_path: Path) -> None:
    """A study says only what it must: references are compared, own tasks scored, nothing kept or tuned."""
    study = load_study(write_study(tmp_path, suites={"held-in": "held-in.yaml"}))
    assert (study.held_out, study.data, study.limit, study.tuning) == (None, None, None, None)
    assert (study.skip_missing, study.keep, study.scored, study.resamples) == (False, False, "merged", 1000)
    assert study.compare == {"experts", "best-expert", "multitask"}
    assert study.categories == CATEGORIES
    assert study.bases[0].parameters is None and study.bases[0].multitask is None
    assert [one.name for one in study.methods] == ["averaging", "dare"]
    assert load_study(write_study(tmp_path, compare=[])).compare == frozenset()


def test_bases_are_read_in_the_suites_order_with_reasons_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Experts come in the suite's order whatever the file's; a category without one is missing, with why."""
    monkeypatch.setenv("MODELS", "/models")
    experts = {"taste": "${MODELS}/taste", "colour": "hub/colour@v1"}
    listed = base("a", experts=experts, parameters=1.0e9, multitask="${MODELS}/all")
    study = load_study(write_study(tmp_path, bases=[listed, base("b", size="8B")]))
    found = study.bases[0]
    assert list(found.experts.items()) == [("colour", "hub/colour@v1"), ("taste", "/models/taste")]
    assert (found.parameters, found.multitask) == (1_000_000_000, "/models/all")
    assert list(found.missing) == ["size", "shape"]
    assert "bases[0].experts" in found.missing["size"]
    assert not study.bases[1].missing
    assert [
        one.name
        for one in load_study(write_study(tmp_path, bases=[base("b", size="8B"), listed], sizes=["1B"])).bases
    ] == ["a"]


def test_categories_can_be_left_out(tmp_path: Path) -> None:
    """A study of some categories merges their experts only, in the suite's order."""
    study = load_study(write_study(tmp_path, categories=["taste", "colour"], experts=[2]))
    assert study.categories == ("colour", "taste")
    assert list(study.bases[0].experts) == ["colour", "taste"] and not study.bases[0].missing
    with pytest.raises(ConfigError) as error:
        load_study(write_study(tmp_path, categories=["taste", "colour"], experts=[2, 4]))
    assert error.value.expected == "2 at most: colour, taste" and error.value.found == "4"


def test_a_family_is_a_source_of_bases(tmp_path: Path) -> None:
    """Paths of the index start at the family; experts that failed its gate are missing with its words."""
    home = Path("family/small")
    write_family_index(home, {"a": ("1M", "weak"), "b": ("4M", "weak")}, failed={"a": ["shape"]})
    study = load_study(
        write_study(tmp_path, bases=None, family=str(home), methods=TUNED, tune={"limit": 7, "seed": 3})
    )
    one, two = study.bases
    assert (one.model, one.multitask) == ("family/small/bases/a", "family/small/experts/a/multitask")
    assert (one.size, one.quality, one.parameters) == ("1M", "weak", 1000)
    assert list(one.experts) == ["colour", "size", "taste"]
    assert one.experts["taste"] == "family/small/experts/a/taste"
    assert "accuracy of shape" in one.missing["shape"] and not two.missing
    assert study.tuning is not None
    assert (study.tuning.family, study.tuning.suite) == (home, None)
    assert (study.tuning.limit, study.tuning.seed) == (7, 3)
    assert study.methods[0].tune == {"lambda": (0.3, 1.0)}


def test_categories_without_data_have_no_expert(tmp_path: Path) -> None:
    """A category whose tasks the family left out is missing for that reason, a strange one for its own."""
    write_family_index(Path("f"), {"a": ("1M", "weak")}, categories=CATEGORIES[:2], left_out=["shape-task"])
    missing = load_study(write_study(tmp_path, bases=None, family="f")).bases[0].missing
    assert list(missing) == ["shape", "taste"]
    assert "data" in missing["shape"] and "shape-task" in missing["shape"]
    assert "not among the categories" in missing["taste"]


def test_a_family_tunes_on_its_own_rows_unless_a_suite_is_named(tmp_path: Path) -> None:
    """The first seed picks unless another is named, 0 too; a suite that is named stands in for the family."""
    write_family_index(Path("f"), {"a": ("1M", "weak")})
    changes: dict[str, Any] = {"bases": None, "family": "f", "methods": TUNED, "seeds": [4, 5]}
    tuning = load_study(write_study(tmp_path, **changes)).tuning
    assert tuning is not None and (tuning.family, tuning.limit, tuning.seed) == (Path("f"), None, 4)
    tuning = load_study(write_study(tmp_path, **changes, tune={"seed": 0, "suite": "validation.yaml"})).tuning
    assert tuning is not None and (tuning.family, tuning.seed) == (None, 0)
    assert tuning.suite == tmp_path / "validation.yaml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every study that we ship loads against a family as its config describes it, and says what it costs."""
    for name in ("MODELS", "T0_DATA"):
        monkeypatch.setenv(name, f"/{name}")
    Path("configs").symlink_to(ROOT / "configs")
    miniature = list(load_suite("configs/suites/miniature-held-in.yaml").categories)
    sizes = {f"{size}-{quality}": (size, quality) for size in ("1M", "4M") for quality in ("weak", "strong")}
    write_family_index(Path("family/miniature"), sizes, miniature)
    t0 = list(load_suite("configs/suites/t0-held-in.yaml").categories)
    write_family_index(Path("family/t0-135m"), {"smollm2-135m": ("135M", "instruct")}, t0)
    study = load_study(path)
    assert study.counts[-1] == len(study.categories) and study.held_out is not None
    assert all(not one.missing for one in study.bases)
    assert merges(study)
    assert path.read_text().startswith("#") and "# Cost: " in path.read_text()
