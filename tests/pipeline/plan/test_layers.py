"""Layers: each stack of a model is counted by itself, and its layers run from 0 to 1."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.plan.layers import count_layers, is_prediction, layer_position

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.mark.parametrize(
    ("name", "layers", "position"),
    [
        ("model.layers.0.mlp.up_proj.weight", 5, 0.0),
        ("model.layers.1.mlp.up_proj.weight", 5, 0.25),
        ("model.layers.4.mlp.up_proj.weight", 5, 1.0),
        ("model.layers.0.mlp.up_proj.weight", 1, 1.0),
        ("transformer.h.2.attn.c_attn.weight", 5, 0.5),
        ("gpt_neox.layers.2.attention.dense.bias", 5, 0.5),
        ("encoder.layer.2.output.dense.weight", 5, 0.5),
        ("decoder.block.2.layer.0.SelfAttention.q.weight", 5, 0.5),
        ("backbone.blocks.2.norm.weight", 5, 0.5),
        ("h.2.ln_1.weight", 5, 0.5),
        ("model.layers.2.mlp.experts.4.w1.weight", 5, 0.5),
        ("layers.2", 5, 0.5),
        ("model.embed_tokens.weight", 5, 0.0),
        ("lm_head.weight", 5, 0.0),
        ("model.norm.weight", 1, 0.0),
        ("model.sublayers.3.weight", 5, 0.0),
        ("model.layers.x.weight", 5, 0.0),
        (f"model.layers.{'9' * 5000}.weight", 5, 0.0),
    ],
)
def test_layer_positions(name: str, layers: int, position: float) -> None:
    """The first layer is at 0 and the last at 1, whatever the architecture calls them; all else is at 0."""
    stacks = ("model.layers", "transformer.h", "gpt_neox.layers", "encoder.layer", "decoder.block")
    counts = dict.fromkeys((*stacks, "backbone.blocks", "h", "layers"), layers)
    assert layer_position(name, counts) == position


def test_layers_are_counted_from_names() -> None:
    """Where the config is silent the count is of the names' layers, not of the experts or heads that are
    numbered inside them.
    """
    names = ["model.layers.0.mlp.experts.63.w1.weight", "model.layers.3.x", EMBED, HEAD]
    assert count_layers(names, {}) == {"model.layers": 4}
    assert count_layers([EMBED, HEAD], {"num_hidden_layers": 7}) == {}


def stacks(**counts: int) -> list[str]:
    """A name in every layer of each stack; underscores stand for dots."""
    return [f"{stack.replace('__', '.')}.{i}.w" for stack, count in counts.items() for i in range(count)]


@pytest.mark.parametrize(
    ("stored", "config", "expected"),
    [
        # Encoder-decoders whose stacks differ; one more layer is stored than each config counts.
        (
            {"encoder__block": 5, "decoder__block": 3},
            {"num_layers": 4, "num_decoder_layers": 2},
            {"encoder.block": 4, "decoder.block": 2},
        ),
        (
            {"model__encoder__layers": 4, "model__decoder__layers": 3},
            {"num_hidden_layers": 3, "encoder_layers": 3, "decoder_layers": 2},
            {"model.encoder.layers": 3, "model.decoder.layers": 2},
        ),
        (
            {"encoder__bert__encoder__layer": 3, "decoder__bert__encoder__layer": 5},
            {"encoder": {"num_hidden_layers": 2}, "decoder": {"num_hidden_layers": 4}},
            {"encoder.bert.encoder.layer": 2, "decoder.bert.encoder.layer": 4},
        ),
        (
            {"model__encoder__layers": 5, "model__decoder__layers": 4},
            {"encoder_num_hidden_layers": 4, "decoder_num_hidden_layers": 3, "num_hidden_layers": 2},
            {"model.encoder.layers": 4, "model.decoder.layers": 3},
        ),
        # A count without a kind beside stacks of two lengths is of neither: no layer lies beyond it.
        (
            {"encoder__layers": 4, "decoder__layers": 12},
            {"num_hidden_layers": 4},
            {"encoder.layers": 4, "decoder.layers": 12},
        ),
        (
            {"encoder__layers": 12, "decoder__layers": 4},
            {"text_config": {"num_hidden_layers": 4}},
            {"encoder.layers": 12, "decoder.layers": 4},
        ),
        (
            {"encoder__layers": 4, "decoder__layers": 12},
            {"num_hidden_layers": 4, "encoder_layers": 4},
            {"encoder.layers": 4, "decoder.layers": 12},
        ),
        # Stacks of one length share it, and a tower of another modality contests nothing.
        (
            {"encoder__block": 3, "decoder__block": 3},
            {"num_layers": 2},
            {"encoder.block": 2, "decoder.block": 2},
        ),
        (
            {"vision_encoder__layers": 5, "decoder__layers": 3},
            {"num_hidden_layers": 2},
            {"vision_encoder.layers": 5, "decoder.layers": 2},
        ),
        # An encoder alone has no count of its kind.
        ({"bert__encoder__layer": 3}, {"num_hidden_layers": 2}, {"bert.encoder.layer": 2}),
        ({"transformer__h": 3}, {"n_layer": 2}, {"transformer.h": 2}),
        # Several modalities: sections of the config, and a flat one beside a section.
        (
            {"language_model__model__layers": 3, "vision_tower__vision_model__encoder__layers": 5},
            {"text_config": {"num_hidden_layers": 2}, "vision_config": {"num_hidden_layers": 4}},
            {"language_model.model.layers": 2, "vision_tower.vision_model.encoder.layers": 4},
        ),
        (
            {"model__layers": 3, "visual__blocks": 5},
            {"num_hidden_layers": 2, "vision_config": {"depth": 4}},
            {"model.layers": 2, "visual.blocks": 4},
        ),
        (
            {"model__layers": 3, "audio_tower__layers": 5},
            {"text_config": {"num_hidden_layers": 2}, "audio_config": {"encoder_layers": 4}},
            {"model.layers": 2, "audio_tower.layers": 4},
        ),
        (
            {"thinker__model__layers": 3, "thinker__visual__blocks": 2},
            {
                "thinker_config": {
                    "text_config": {"num_hidden_layers": 2},
                    "vision_config": {"depth": 1},
                }
            },
            {"thinker.model.layers": 2, "thinker.visual.blocks": 1},
        ),
        # The language model's count says nothing of a tower without one.
        ({"vision_tower__layers": 5}, {"num_hidden_layers": 2}, {"vision_tower.layers": 5}),
        # A config that promises more than is stored, or nonsense, does not count.
        ({"model__layers": 2}, {"num_hidden_layers": 9}, {"model.layers": 2}),
        ({"model__layers": 2}, {"num_hidden_layers": True, "n_layer": "1"}, {"model.layers": 2}),
    ],
)
def test_each_stack_has_its_own_count(
    stored: dict[str, int], config: dict[str, Any], expected: dict[str, int]
) -> None:
    """A stack is as long as config.json says of that stack, or as its names reach: never as another one."""
    counts = count_layers(stacks(**stored), config)
    assert counts == expected
    for stack, count in expected.items():
        last = f"{stack}.{count - 1}.w"
        assert layer_position(last, counts) == 1.0
        assert layer_position(f"{stack}.0.w", counts) == (0.0 if count > 1 else 1.0)


def test_extra_prediction_layers_are_at_the_end() -> None:
    """A layer beyond the config's count, or below `mtp`, moves no other layer and is at 1."""
    names = [*stacks(model__layers=5, mtp__layers=2), EMBED]
    counts = count_layers(names, {"num_hidden_layers": 4})
    found = [layer_position(name, counts) for name in names]
    assert found == [0.0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0, 1.0, 1.0, 1.0, 0.0]
    assert [name for name in names if is_prediction(name, counts)] == [
        "model.layers.4.w",
        "mtp.layers.0.w",
        "mtp.layers.1.w",
    ]
    assert is_prediction("mtp.fc.weight", counts) and not is_prediction("model.layers.mtpx", counts)
