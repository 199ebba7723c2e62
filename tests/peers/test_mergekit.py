"""The same YAML through mergekit 0.1.5 and through us gives the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from tests.helpers.mergekit import run_mergekit
from tests.helpers.merging import merge, tensors
from tests.helpers.models import write_family
from tests.peers.cases import FP32, TYPED, Case

pytestmark = pytest.mark.peers
FAMILIES = ("float32", "bfloat16", "float16")
EXPERTS = 3


class Bench:
    """Families of tiny models, and every case merged by mergekit (all in one process) under `root/theirs`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.families = {
            dtype: write_family(root / dtype, EXPERTS, dtype=dtype, layers=3, hidden=32, vocab=48, delta=0.02)
            for dtype in FAMILIES
        }
        self.configs = {case.name: self.write(case) for case in (*FP32, *TYPED)}
        run_mergekit({config: self.theirs(name) for name, config in self.configs.items()})

    def write(self, case: Case) -> Path:
        """The case's config file."""
        path = self.root / f"{case.name}.yaml"
        path.write_text(yaml.safe_dump(case.config(*self.families[case.family]), sort_keys=False))
        return path

    def theirs(self, name: str) -> Path:
        """Where mergekit's result lies."""
        return self.root / "theirs" / name

    def both(self, case: Case) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(ours, theirs): tensors by name."""
        out = self.root / "ours" / case.name
        merge(self.configs[case.name], out)
        return tensors(out), tensors(self.theirs(case.name))

    def undecided(self, case: Case, name: str) -> Tensor:
        """Entries where an expert's |delta| equals its threshold and only some such entries are kept.

        mergekit sorts unstably there: which of the equals it keeps is not written anywhere.
        """
        base, experts = self.families[case.family]
        compute = getattr(torch, case.top.get("dtype", case.family))
        base_N = tensors(base)[name].to(compute).flatten()
        open_N = torch.zeros_like(base_N, dtype=torch.bool)
        for path, density in zip(experts, case.density, strict=False):
            delta_N = (tensors(path)[name].to(compute).flatten() - base_N).abs()
            k = max(1, int(density * len(delta_N)))
            ranked_N = delta_N.sort(descending=True).values
            if k < len(delta_N) and ranked_N[k - 1] == ranked_N[k]:
                open_N |= delta_N == ranked_N[k]
        return open_N.view_as(tensors(base)[name])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """All cases, merged by mergekit."""
    return Bench(tmp_path_factory.mktemp("peers"))


@pytest.mark.parametrize("case", FP32, ids=lambda case: case.name)
def test_fp32(bench: Bench, case: Case) -> None:
    """In fp32 every weight agrees within 1e-6."""
    ours, theirs = bench.both(case)
    assert ours.keys() == theirs.keys()
    for name, their_N in theirs.items():
        assert ours[name].dtype == their_N.dtype == torch.float32
        assert float((ours[name] - their_N).abs().max()) <= 1e-6, name


@pytest.mark.parametrize("case", TYPED, ids=lambda case: case.name)
def test_other_types(bench: Bench, case: Case) -> None:
    """With 16-bit types the dtypes agree and so does every weight, to the bit but for double rounding.

    Where fp32 results are cast to 16 bits (so does `linear` always), differences in their last bit may tip a
    rounding: one unit in the last place, for fewer than one weight in a thousand. Arithmetic in
    16 bits follows mergekit's roundings one by one: bit for bit.
    """
    ours, theirs = bench.both(case)
    assert ours.keys() == theirs.keys()
    tipped = compared = 0
    for name, their_N in theirs.items():
        assert ours[name].dtype == their_N.dtype, name
        sure_N = ~bench.undecided(case, name)
        our_N, their_N = ours[name][sure_N], their_N[sure_N]
        compared += their_N.numel()
        # One unit in the last place; sums that cancel are compared on the scale of the weights.
        bound_N = (torch.finfo(their_N.dtype).eps * their_N.double().abs()).clamp(min=1e-6)
        assert bool(((our_N.double() - their_N.double()).abs() <= bound_N).all()), name
        tipped += int((our_N != their_N).sum()) if their_N.dtype != torch.float32 else 0
    total = sum(tensor.numel() for tensor in theirs.values())
    assert compared >= 0.8 * total
    fp32_inside = case.method == "linear" or case.top["dtype"] == "float32"
    assert tipped <= (total / 1000 if fp32_inside else 0)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_statistics(bench: Bench, method: str, tmp_path: Path) -> None:
    """With drops the coins differ, but the share kept agrees, and each tensor keeps its dense L1 norm."""
    base, (expert, *_) = bench.families["float32"]
    case = Case("drops", method, (1.0,), (0.3,))
    config = tmp_path / "drops.yaml"
    config.write_text(yaml.safe_dump(case.config(base, [expert]), sort_keys=False))
    run_mergekit({config: tmp_path / "theirs"})
    merge(config, tmp_path / "ours")
    base_of, expert_of = tensors(base), tensors(expert)
    kept = dict.fromkeys(("ours", "theirs"), 0)
    for who in kept:
        for name, merged_N in tensors(tmp_path / who).items():
            dense_N = (expert_of[name] - base_of[name]).double()
            sparse_N = (merged_N - base_of[name]).double()
            kept[who] += int(sparse_N.count_nonzero())
            norm = float(dense_N.abs().sum())
            assert float(sparse_N.abs().sum()) == pytest.approx(norm, rel=1e-4), (who, name)
    total = sum(tensor.numel() for tensor in base_of.values())
    for who, count in kept.items():
        assert abs(count / total - 0.3) < 5 * (0.3 * 0.7 / total) ** 0.5, who
