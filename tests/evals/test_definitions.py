"""lm-eval definitions as data: includes, functions, bundled tasks, digests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import evals.generation
from evals.definitions import FunctionRef, digest_definition, find_bundled, read_definition, task_folder
from evals.suites import load_suite
from pipeline.errors import ConfigError
from tests.helpers.tasks import CHOICE, choice_task, write_suite


def test_includes_merge_and_nearer_keys_win(tmp_path: Path) -> None:
    """An included file's keys arrive unless the including file has them itself."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "root.yaml").write_text("a: 1\nb: 1\nc: 1\ntask_list: [x]\n")
    (tmp_path / "middle.yaml").write_text("include: deep/root.yaml\nb: 2\nc: 2\n")
    (tmp_path / "leaf.yaml").write_text("include: middle.yaml\nc: 3\n")
    assert read_definition(tmp_path / "leaf.yaml") == {"a": 1, "b": 2, "c": 3}


def test_a_circle_of_includes_is_refused(tmp_path: Path) -> None:
    """Files that include each other are a ConfigError, not an endless loop."""
    (tmp_path / "one.yaml").write_text("include: two.yaml\n")
    (tmp_path / "two.yaml").write_text("include: one.yaml\n")
    with pytest.raises(ConfigError):
        read_definition(tmp_path / "one.yaml")


def test_functions_stay_references_of_their_own_file(tmp_path: Path) -> None:
    """`!function` is kept as a name with the folder it was written in, and nothing is imported."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "root.yaml").write_text("f: !function helper.work\n")
    (tmp_path / "deep" / "helper.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "leaf.yaml").write_text("include: deep/root.yaml\n")
    reference = read_definition(tmp_path / "leaf.yaml")["f"]
    assert reference == FunctionRef("helper.work", str(tmp_path / "deep"), bundled=False)
    assert reference.file() == tmp_path / "deep" / "helper.py"


def test_bundled_tasks_are_found_by_name_and_by_file() -> None:
    """A task that lm-eval ships is found under its name, and under its file."""
    by_name = find_bundled("hellaswag", "here")
    assert by_name == find_bundled("hellaswag/hellaswag.yaml", "here")
    definition = read_definition(by_name)
    assert definition["process_docs"] == FunctionRef("utils.process_docs", "hellaswag", bundled=True)


def test_a_wrong_bundled_file_is_refused() -> None:
    """A file that lm-eval does not ship is refused with the place it was named, outside its folder too."""
    for name in ("hellaswag/gone.yaml", "../__init__.yaml", str(Path(__file__).with_suffix(".yaml"))):
        with pytest.raises(ConfigError) as caught:
            find_bundled(name, "suite: here")
        assert caught.value.where == "suite: here"


def test_a_bundled_task_takes_local_data_and_overrides(tmp_path: Path) -> None:
    """A bundled task keeps its prompts and functions and gets the suite's files and changes."""
    entry = choice_task(
        "mine",
        definition=None,
        bundled="super_glue/copa/default.yaml",
        data={"validation": "v.jsonl"},
        override={"target_delimiter": "-"},
    )
    task = load_suite(write_suite(tmp_path / "suite.yaml", {"completion": [entry]})).tasks[0]
    assert isinstance(task.definition["doc_to_text"], FunctionRef)
    assert task.definition["target_delimiter"] == "-"
    assert "training_split" not in task.definition and task.definition["validation_split"] == "validation"
    assert not {"task", "tag", "dataset_path"} & set(task.definition)


def test_groups_are_refused(tmp_path: Path) -> None:
    """A file that defines a group of tasks is refused: a record is of one task."""
    group = next(path for path in sorted((task_folder() / "mmlu").glob("**/_mmlu.yaml")))
    entry = choice_task(definition=None, bundled=str(group.relative_to(task_folder())), data=None)
    with pytest.raises(ConfigError) as caught:
        load_suite(write_suite(tmp_path / "suite.yaml", {"many": [entry]}))
    assert "group" in caught.value.what


def test_a_digest_follows_the_meaning(tmp_path: Path) -> None:
    """The order of keys does not change a digest; a value, its type, a nesting or a function's code does."""
    base = digest_definition(CHOICE)
    assert base == digest_definition(dict(reversed(CHOICE.items())))
    others = [
        {**CHOICE, "doc_to_text": "{{question}} "},
        {**CHOICE, "num": 1},
        {**CHOICE, "num": "1"},
        {**CHOICE, "num": True},
        {**CHOICE, "list": ["a", "b"]},
        {**CHOICE, "list": ["ab"]},
        {**CHOICE, "list": [["a"], "b"]},
    ]
    helper = tmp_path / "helper.py"
    helper.write_text("def work(doc): return 1\n")
    reference = {**CHOICE, "f": FunctionRef("helper.work", str(tmp_path), bundled=False)}
    digests = [base, *map(digest_definition, others), digest_definition(reference)]
    helper.write_text("def work(doc): return 2\n")
    digests.append(digest_definition(reference))
    assert len(set(digests)) == len(digests)


def test_functions_of_this_package_are_known_by_their_code(tmp_path: Path) -> None:
    """`!function evals.…` names the installed module from wherever; a digest covers its code."""
    (tmp_path / "task.yaml").write_text("f: !function evals.generation.score_answers\n")
    file = read_definition(tmp_path / "task.yaml")["f"].file()
    assert file == Path(evals.generation.__file__)
    assert FunctionRef("json.dumps", str(tmp_path), bundled=False).file() is None


def test_aliases_in_definitions_are_bounded(tmp_path: Path) -> None:
    """Aliases that stand for billions of values, or for themselves, are refused in a file and inline."""
    bomb = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 31)]
    for text in ("\n".join(bomb), "a: &a [*a]", "a: &a {b: *a}"):
        path = tmp_path / "task.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match="alias"):
            read_definition(path)
        inline = "\n".join(f"        {line}" for line in text.split("\n"))
        suite = tmp_path / "suite.yaml"
        suite.write_text(f"name: s\ncategories:\n  c:\n    - task: t\n      definition:\n{inline}\n")
        with pytest.raises(ConfigError, match="alias"):
            load_suite(suite)


def test_deep_definitions_do_not_end_the_process(tmp_path: Path) -> None:
    """Nesting that would overflow the stack of a parser written in C is a ConfigError."""
    for text in ("[" * 900_000, "- " * 300_000, "{a: " * 200_000, "a: " + "[" * 300 + "]" * 300):
        (tmp_path / "task.yaml").write_text(text)
        with pytest.raises(ConfigError):
            read_definition(tmp_path / "task.yaml")


def test_a_file_included_often_is_read_once(tmp_path: Path) -> None:
    """Files that include the next one ten times each cost one read a file."""
    for depth in range(20):
        below = f"include: [{', '.join([f'{depth + 1}.yaml'] * 10)}]\n" if depth < 19 else ""
        (tmp_path / f"{depth}.yaml").write_text(f"{below}k{depth}: 1\n")
    assert len(read_definition(tmp_path / "0.yaml")) == 20


@pytest.mark.parametrize("how", ["named", "absolute", "linked", "included"])
def test_a_suite_names_only_files_of_its_own(tmp_path: Path, how: str) -> None:
    """A definition or an include that leaves the suite's folder is refused unread, through a link too."""
    (tmp_path / "elsewhere.yaml").write_text("secret: of somebody else\n")
    folder = tmp_path / "suites"
    folder.mkdir()
    (folder / "link.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    (folder / "task.yaml").write_text("include: ../elsewhere.yaml\n")
    name = {
        "named": "../elsewhere.yaml",
        "absolute": str(tmp_path / "elsewhere.yaml"),
        "linked": "link.yaml",
        "included": "task.yaml",
    }[how]
    with pytest.raises(ConfigError) as caught:
        load_suite(write_suite(folder / "suite.yaml", {"c": [choice_task(definition=name)]}))
    assert caught.value.found == str(tmp_path / "elsewhere.yaml")
    assert "secret" not in str(caught.value)


def test_a_project_keeps_suites_and_tasks_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite below the current directory names definitions anywhere below it."""
    for name in ("suites", "tasks"):
        (tmp_path / name).mkdir()
    (tmp_path / "tasks" / "task.yaml").write_text("output_type: multiple_choice\n")
    monkeypatch.chdir(tmp_path)
    found = read_definition(Path("../tasks/task.yaml"), tmp_path / "suites")
    assert found == {"output_type": "multiple_choice"}


@pytest.mark.parametrize("text", ["root:x:0 secret", "- secret", "a: *secret", "!!int secret", "a: 'secret"])
def test_what_is_no_definition_is_not_shown(tmp_path: Path, text: str) -> None:
    """A file that is no task definition is refused by name, and nothing of its text is repeated."""
    (tmp_path / "notes.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_suite(write_suite(tmp_path / "suite.yaml", {"c": [choice_task(definition="notes.yaml")]}))
    assert "notes.yaml" in str(caught.value) and "secret" not in str(caught.value)


def test_a_pipe_is_no_definition(tmp_path: Path) -> None:
    """A named pipe as a definition is refused at once; nobody waits for a writer."""
    os.mkfifo(tmp_path / "task.yaml")
    with pytest.raises(ConfigError) as caught:
        load_suite(write_suite(tmp_path / "suite.yaml", {"c": [choice_task(definition="task.yaml")]}))
    assert "pipe" in caught.value.found
