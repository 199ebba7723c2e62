"""Invented rows for the held-out data sets of the t0 suites; form: `t0_rows`."""

from __future__ import annotations

from typing import Any

_PAIR = {"premise": "A cat sleeps.", "hypothesis": "An animal rests.", "idx": 3}

ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "copa": (
        {
            "premise": "The glass fell.",
            "choice1": "It rang.",
            "choice2": "It broke.",
            "question": "effect",
            "idx": 0,
            "label": 1,
        },
        "The glass fell therefore",
        " it broke.",
    ),
    "hellaswag": (
        {
            "ind": 1,
            "activity_label": "Cooking",
            "ctx_a": "A pan is hot.",
            "ctx_b": "a man",
            "ctx": "A pan is hot. a man",
            "endings": ["sleeps.", "adds oil. [substeps] Wait.", "sings.", "swims."],
            "source_id": "x",
            "split": "val",
            "split_type": "indomain",
            "label": "1",
        },
        "Cooking: A pan is hot. A man",
        "adds oil. Wait.",
    ),
    **{
        f"anli_r{number}": (
            {"uid": "x", "premise": "Bo is 8.", "hypothesis": "Bo is 9.", "label": 2, "reason": ""},
            "Bo is 8.\nQuestion: Bo is 9. True, False, or Neither?\nAnswer:",
            "False",
        )
        for number in (1, 2, 3)
    },
    "rte": (
        {**_PAIR, "label": 1},
        "A cat sleeps.\nQuestion: An animal rests. True or False?\nAnswer:",
        "False",
    ),
    "cb": (
        {**_PAIR, "label": 1},
        "A cat sleeps.\nQuestion: An animal rests.. True, False, or Neither?\nAnswer:",
        "False",
    ),
    "sick": (
        {
            "id": "1",
            "sentence_A": "A man sings",
            "sentence_B": "A man hums",
            "label": 1,
            "relatedness_score": 3.5,
            "entailment_AB": "A_neutral_B",
            "entailment_BA": "B_neutral_A",
        },
        "A man sings\nQuestion: A man hums. True, False, or Neither?\nAnswer:",
        "Neither",
    ),
    "snli": (
        {"premise": "A cat sleeps.", "hypothesis": "An animal rests.", "label": 0},
        "A cat sleeps.\nQuestion: An animal rests. True, False, or Neither?\nAnswer:",
        "True",
    ),
    "wsc": (
        {
            "text": "Ann met Bo when she came home .",
            "span1_index": 0,
            "span2_index": 4,
            "span1_text": "Ann",
            "span2_text": "she",
            "idx": 0,
            "label": 1,
        },
        "Passage: Ann met Bo when *she* came home.\n"
        'Question: In the passage above, does the pronoun "*she*" refer to "*Ann*"?\nAnswer:',
        "yes",
    ),
    "winogrande": (
        {
            "sentence": "Ann beat Bo because _ was faster.",
            "option1": "Ann",
            "option2": "Bo",
            "answer": "1",
        },
        "Ann beat Bo because Ann",
        "was faster.",
    ),
    "wsc273": (
        {
            "text": "The vase fell on the table and it broke.",
            "pronoun": "it",
            "pronoun_loc": 31,
            "quote": "it broke",
            "quote_loc": 31,
            "options": ["The table", "The vase"],
            "label": 1,
            "source": "(invented)",
        },
        "The vase fell on the table and the vase",
        " broke.",
    ),
    "wic": (
        {
            "word": "bank",
            "sentence1": "The bank of a river.",
            "sentence2": "A bank lends.",
            "start1": 4,
            "start2": 2,
            "end1": 8,
            "end2": 6,
            "idx": 0,
            "label": 0,
        },
        "Sentence 1: The bank of a river.\nSentence 2: A bank lends.\n"
        "Question: Is the word 'bank' used in the same way in the two sentences above?\nAnswer:",
        "no",
    ),
}
