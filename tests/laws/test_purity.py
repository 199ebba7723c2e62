"""A method is a pure function: it writes to no input, uses no global generator, and loads without torch."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.methods import CATALOGUE
from tests.helpers.cases import Setting, every_setting, same_bits, tensors
from tests.helpers.driver import merge


@pytest.mark.parametrize("setting", every_setting())
def test_inputs_are_untouched(setting: Setting) -> None:
    """Base, experts and knobs hold the same bytes after a merge, and the result is in memory of its own."""
    given = tensors("wild", torch.float32, sizes=(90, 41))
    copies = tensors("wild", torch.float32, sizes=(90, 41))
    knobs = setting.knobs(3)
    merged = merge(setting.load(), given, knobs, cuts={"w0": [40]})
    for tensor, copy in zip(given, copies, strict=True):
        assert tensor.base_N is not None and copy.base_N is not None
        assert same_bits(tensor.base_N, copy.base_N)
        assert same_bits(tensor.experts_EN, copy.experts_EN)
        assert merged[tensor.name].data_ptr() not in (tensor.base_N.data_ptr(), tensor.experts_EN.data_ptr())
    assert knobs == setting.knobs(3)


@pytest.mark.parametrize("setting", every_setting())
def test_global_generators_are_untouched(setting: Setting) -> None:
    """The state of torch's, numpy's and Python's global generators is the same after a merge, and has no
    influence.
    """
    given = tensors("random", torch.float32)
    merged = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
        merged.append(merge(setting.load(), given, setting.knobs(3))["w0"])
        assert torch.equal(before[0], torch.get_rng_state())
        assert np.array_equal(before[1], np.random.get_state()[1])
        assert before[2] == random.getstate()
    assert same_bits(*merged)


@pytest.mark.parametrize("name", CATALOGUE)
def test_loading_needs_no_torch(name: str) -> None:
    """Reading a method's knobs and traits, as planning does, does not import torch."""
    code = (
        "import sys; from pipeline.methods import load_method; "
        f"m = load_method({name!r}); assert m.name == {name!r} and m.knobs and m.title and m.source; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
