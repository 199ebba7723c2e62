"""Compare what the weights of several models mean: the room's front door.

The first model is the reference, whose config and tokenizer the merged model gets; every other model is held
against it. Reads small files only. What differs is said, not mended.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.checkpoint.choose import CONFIG_NAME
from pipeline.checkpoint.files import read_json_object
from pipeline.checkpoint.index import CheckpointIndex
from pipeline.checkpoint.synthetic import is_synthetic
from pipeline.errors import CheckpointError, shown
from pipeline.meaning.configs import config_differences
from pipeline.meaning.differences import Difference, say
from pipeline.meaning.generation import GENERATION_NAME, generation_differences
from pipeline.meaning.tokenizer import tokenizer_notes


def check_types(models: Sequence[CheckpointIndex]) -> None:
    """Raise CheckpointError unless every model that states a `model_type` states that of the first."""
    reference = models[0]
    wanted = reference.config.get("model_type")
    for model in models[1:]:
        found = model.config.get("model_type")
        if wanted is not None and found is not None and found != wanted:
            raise CheckpointError(
                f'model "{model.ref}" is of another type than "{reference.ref}"',
                where=f"{os.path.join(model.directory, CONFIG_NAME)}: model_type",
                expected=f'{wanted} as in "{reference.ref}"',
                found=str(found),
                hint="merge models of one type, or write `allow_mixed: true` into the merge config where "
                "their weights mean the same",
            )


def compare_meaning(models: Sequence[CheckpointIndex]) -> tuple[str, ...]:
    """Say in what config, generation config and tokenizer the other models differ from the first.

    One note a model and kind of file; none where all mean the same.
    """
    notes = []
    for model in models[1:]:
        notes += _compare(models[0], model)
    return tuple(notes)


def _compare(reference: CheckpointIndex, other: CheckpointIndex) -> list[str]:
    name = f'"{shown(other.ref)}"'
    beside = f'differs from that of "{shown(reference.ref)}", which the merged model gets'
    if reference.config and not other.config:
        return [f"{name} has no {CONFIG_NAME}: it is not known whether its weights mean what the others' do"]
    found = config_differences(reference.config, other.config)
    notes = [f"config of {name} {beside}: {say(found)}"] if found else []
    try:
        generation = _generation(reference, other, found)
        notes += [f"{GENERATION_NAME} of {name} {beside}: {say(generation)}"] if generation else []
        if not is_synthetic(reference.directory) and not is_synthetic(other.directory):
            sides = [(str(model.ref), Path(model.directory)) for model in (reference, other)]
            notes += tokenizer_notes(sides[0], sides[1])
    except (CheckpointError, FileNotFoundError) as error:
        said = error.one_line if isinstance(error, CheckpointError) else shown(error)
        notes.append(f"{name} cannot be compared in all with the others: {said}")
    return notes


def _generation(
    reference: CheckpointIndex, other: CheckpointIndex, said: Sequence[Difference]
) -> list[Difference]:
    """What differs in how the models generate and is not said of their configs already."""
    sides = [(_generation_config(model), model.config) for model in (reference, other)]
    known = {each.path for each in said}
    return [each for each in generation_differences(*sides) if each.path not in known]


def _generation_config(model: CheckpointIndex) -> dict[str, Any] | None:
    path = Path(model.directory, GENERATION_NAME)
    return read_json_object(path) if os.path.lexists(path) else None
