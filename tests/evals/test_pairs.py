"""Prompts with answers as tokens: training sees those that lm-eval scores, for every kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pipeline.training.examples import adds_tokens, encode, encode_pair
from pipeline.training.identity import RECIPE, RECIPE_WITH_ADDED_TOKENS, recipe_for
from pipeline.training.scratch.tokenizer import make_tokenizer
from tests.helpers.models import write_model, write_tokenizer
from tests.helpers.tasks import write_rows
from tests.helpers.training import load_model

TEXTS = [f"the cat number {number} sat on mat {number * 7 % 13}.\nAnswer: yes" for number in range(60)]
PAIRS = [
    ("the cat", " sat"),
    ("the cat  ", " sat on"),
    ("Is it so?\nAnswer:\n", " yes"),
    ("the cat sat", "s"),
    ("", " sat"),
    ("", "<s> sat"),
    (" ", " sat"),
    ("<s>the cat", " sat"),
    ("über 12.5 naïve", " cats, 7"),
]
Pair = Callable[[Any, str, str], tuple[list[int], list[int]]]
KINDS = ("plain", "begin", "begin and end", "two sides", "no word borders", "end only")


def make(kind: str) -> PreTrainedTokenizerFast:
    """Learn a small tokenizer whose special tokens and word borders are of the given kind."""
    if kind == "no word borders":  # as SentencePiece with tokens over spaces
        learned = Tokenizer(models.BPE(unk_token="<unk>"))
        learned.normalizer = normalizers.Replace(" ", "▁")
        learned.decoder = decoders.Metaspace()
    else:
        learned = Tokenizer(models.BPE())
        learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<pad>", "<s>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator(TEXTS, trainer)
    around = {"begin": "<s> $A", "begin and end": "<s> $A </s>", "two sides": "<s> $A </s>"}.get(kind)
    if around:
        ids = [("<s>", 1), ("</s>", 2)]
        learned.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    named = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>", "bos_token": "<s>"}
    if kind == "end only":
        del named["bos_token"]
    if kind == "two sides":  # BERT's two have roles of their own, and neither begins a text for lm-eval
        named |= {"cls_token": "<s>", "sep_token": "</s>"}
        del named["bos_token"]
    return PreTrainedTokenizerFast(tokenizer_object=learned, **named)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Encode a pair as lm-eval's own class does before it asks its model."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model, _ = load_model(write_model(tmp_path_factory.mktemp("model"), vocab=420, tokenizer=True))

    def encoded(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
        heard: list[Any] = []
        lm: Any = HFLM(pretrained=model, tokenizer=tokenizer)
        lm._loglikelihood_tokens = lambda requests, **_: heard.extend(requests)
        lm.loglikelihood([Instance("loglikelihood", {}, (context, continuation), 0)], disable_tqdm=True)
        ((_, head, tail),) = heard
        return head, tail

    return encoded


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("context", "continuation"), PAIRS)
def test_pairs_are_encoded_as_lm_eval_encodes_them(
    pair: Pair, kind: str, context: str, continuation: str
) -> None:
    """For any tokenizer and text the tokens of prompt and answer are lm-eval's own."""
    tokenizer = make(kind)
    assert encode_pair(tokenizer, context, continuation) == pair(tokenizer, context, continuation)


@pytest.mark.parametrize("kind", KINDS)
def test_training_sees_the_tokens_that_are_scored(pair: Pair, kind: str) -> None:
    """A row's prompt and answer are lm-eval's pair of the question and the answer behind one space."""
    tokenizer = make(kind)
    for context, answer in (("the cat", "sat"), ("Is it so?\n", "yes or no"), ("", "sat")):
        found = encode(tokenizer, context, answer, 64)
        assert (list(found.prompt), list(found.answer)) == pair(tokenizer, context, f" {answer}")


def test_the_kinds_differ_where_they_should() -> None:
    """The tokenizers above are what their names say: a begin token is seen, and a merge across the border."""
    assert [adds_tokens(make(kind)) for kind in KINDS] == [False, True, True, True, False, False]
    assert encode(make("begin"), "the cat", "sat", 64).prompt[0] == 1
    tokenizer = make("no word borders")
    head, tail = encode_pair(tokenizer, "the cat", " number")
    assert head + tail != tokenizer.encode("the cat number")


def as_before(tokenizer: Any, question: str, choice: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Join as training did while it left special tokens out."""
    head, whole = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (question.rstrip(), f"{question} {choice}")
    )
    return tuple(whole[: len(head)]), tuple(whole[len(head) :])


@pytest.mark.parametrize("kind", ["family", "smollm2", "words"])
def test_tokens_are_what_they_were_without_special_tokens(tmp_path: Path, kind: str) -> None:
    """Tokenizers that add nothing to a text give the tokens they always gave, and their experts are kept."""
    if kind == "family":
        corpus = write_rows(tmp_path / "corpus.jsonl", [{"text": text} for text in TEXTS])
        make_tokenizer(corpus, 300, tmp_path / "t")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "t")
    elif kind == "words":
        write_tokenizer(tmp_path, 64)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    else:
        tokenizer = make("plain")  # SmolLM2's: byte-level, digits apart, a begin token that is never added
        digits = pre_tokenizers.Digits(individual_digits=True)
        border = tokenizer.backend_tokenizer.pre_tokenizer
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, border])
    assert recipe_for(tokenizer) == RECIPE != RECIPE_WITH_ADDED_TOKENS
    for text in TEXTS:
        question, _, answer = text.rpartition(" ")
        for end in ("", " ", "\n"):
            found = encode(tokenizer, question + end, answer, 128)
            assert (found.prompt, found.answer) == as_before(tokenizer, question + end, answer)
