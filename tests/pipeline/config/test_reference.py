"""Model references: what text and map forms mean; what exists on disk wins over what the text looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.place import Place
from pipeline.config.reference import local_path, read_reference, write_reference
from pipeline.errors import ConfigError
from pipeline.values import ModelRef

PLACE = Place("merge.yaml", "base_model")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("org/model", ModelRef("org/model")),
        ("org/model@main", ModelRef("org/model", "main")),
        ("/models/a", ModelRef("/models/a")),
        ("../a", ModelRef("../a")),
        ({"model": {"path": "org/model"}}, ModelRef("org/model")),
        ({"model": {"path": "org/model", "revision": "v1"}}, ModelRef("org/model", "v1")),
        ({"model": {"path": "a@b"}, "lora": None}, ModelRef("a@b")),
        ({"model": {"path": "a+b", "revision": None}}, ModelRef("a+b")),
    ],
)
def test_text_and_map_forms(raw: object, expected: ModelRef) -> None:
    """Both forms give path and revision, and the path of a map is taken as it stands."""
    assert read_reference(raw, PLACE) == expected


@pytest.mark.parametrize("name", ["a@b", "a@b@c", "e+f", "@", "+"])
def test_an_existing_path_is_that_path(name: str, tmp_path: Path) -> None:
    """A directory with @ or + in its name is itself; mergekit would cut the name and take another model."""
    (tmp_path / "a").mkdir()
    (tmp_path / name).mkdir()
    assert read_reference(name, PLACE) == ModelRef(name)


def test_relative_paths_start_here_then_beside_the_config(tmp_path: Path) -> None:
    """The current directory comes first, the config's directory second, and the text stays as written."""
    source = str(tmp_path / "configs" / "merge.yaml")
    ref = ModelRef("models/a")
    assert local_path(ref, source) is None
    (tmp_path / "configs" / "models" / "a").mkdir(parents=True)
    assert local_path(ref, source) == str(tmp_path / "configs" / "models" / "a")
    (tmp_path / "models" / "a").mkdir(parents=True)
    assert local_path(ref, source) == str(tmp_path / "models" / "a")
    assert read_reference("models/a", Place(source)) == ref


def test_an_at_sign_beside_the_config_counts_too(tmp_path: Path) -> None:
    """A path that exists only beside the config is also taken literally."""
    (tmp_path / "configs" / "x@y").mkdir(parents=True)
    place = Place(str(tmp_path / "configs" / "merge.yaml"))
    assert read_reference("x@y", place) == ModelRef("x@y")
    assert read_reference("x@z", place) == ModelRef("x", "z")


@pytest.mark.parametrize(
    ("raw", "path", "what", "hint"),
    [
        ("org/model+org/lora", "base_model", "LoRA", "merge the adapter"),
        ({"model": {"path": "a"}, "lora": {"path": "b"}}, "base_model.lora", "LoRA", "merge the adapter"),
        ("a@b@c", "base_model", "not a model reference", "path: ..."),
        ("a@", "base_model", "not a model reference", "path: ..."),
        ("@main", "base_model", "not a model reference", "path: ..."),
        ("", "base_model", "not a text", ""),
        (None, "base_model", "not a text", ""),
        (7, "base_model", "not a text", "quotes"),
        (True, "base_model", "not a text", "quotes"),
        (["a"], "base_model", "not a text", ""),
        ("a\nb", "base_model", "control character", ""),
        ("a\0b", "base_model", "control character", ""),
        ({"model": {"path": "a\x7f"}}, "base_model.model.path", "control character", ""),
        ({"path": "a"}, "base_model.path", "unknown key", "one level deeper"),
        ({"model": "a"}, "base_model.model", "not a mapping", ""),
        ({}, "base_model.model", "not a mapping", ""),
        ({"model": {}}, "base_model.model.path", "not a text", ""),
        ({"model": {"path": "a", "revison": "b"}}, "base_model.model.revison", "unknown key", '"revision"'),
        ({"model": {"path": "a", "revision": 3}}, "base_model.model.revision", "not a text", "quotes"),
    ],
)
def test_what_is_no_reference(raw: object, path: str, what: str, hint: str) -> None:
    """Every other form is an error at its place, never a guess."""
    with pytest.raises(ConfigError) as caught:
        read_reference(raw, PLACE)
    assert caught.value.where == f"merge.yaml: {path}"
    assert what in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "ref",
    [
        ModelRef("a"),
        ModelRef("a", "b"),
        ModelRef("a@b"),
        ModelRef("a@b", "c"),
        ModelRef("a+b"),
        ModelRef("a", "b+c"),
    ],
)
def test_written_references_read_back(ref: ModelRef, tmp_path: Path) -> None:
    """What is written reads back as the same reference, whatever paths the disk has."""
    assert read_reference(write_reference(ref), PLACE) == ref
    (tmp_path / str(ref)).mkdir()
    assert read_reference(write_reference(ref), PLACE) == ref
