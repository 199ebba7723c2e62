"""Invented rows for the held-in data sets of the t0 suites; form: `t0_rows`."""

from __future__ import annotations

from typing import Any

_STORY = "Ann paid the bill. She was in a hurry."

ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "dream": (
        {
            "id": 1,
            "dialogue_id": "1-1",
            "dialogue": ["M: Tea?", "W: Coffee, please."],
            "question": "What does the woman want?",
            "choice": ["Tea.", "Coffee.", "Water."],
            "answer": "Coffee.",
        },
        "M: Tea?\nW: Coffee, please.\nQuestion: What does the woman want?\nAnswer:",
        "Coffee.",
    ),
    "cosmos_qa": (
        {
            "id": "x",
            "context": _STORY,
            "question": "Why did she leave?",
            **{f"answer{i}": f"Reason {i}." for i in range(4)},
            "label": 2,
        },
        f"{_STORY}\nQuestion: Why did she leave?\nAnswer:",
        "Reason 2.",
    ),
    "commonsense_qa": (
        {
            "id": "x",
            "question": "Where is bread kept?",
            "question_concept": "bread",
            "choices": {"label": list("ABCDE"), "text": ["sea", "box", "sky", "car", "sun"]},
            "answerKey": "B",
        },
        "Question: Where is bread kept?\nA. sea\nB. box\nC. sky\nD. car\nE. sun\nAnswer:",
        "B",
    ),
    "social_i_qa": (
        {
            "context": "Bo lost.",
            "question": "How is Bo?",
            "answerA": "glad",
            "answerB": "proud",
            "answerC": "sad",
            "label": "3",
        },
        "Q: Bo lost. How is Bo?\nA:",
        "sad",
    ),
    "adversarial_qa": (
        {
            "id": "x",
            "title": "Rivers",
            "context": "The Elm is longer than the Oak.",
            "question": "Which river is shorter?",
            "answers": {"text": ["the Oak"], "answer_start": [23]},
            "metadata": {"split": "validation", "model_in_the_loop": "BERT"},
        },
        "The Elm is longer than the Oak.\nQuestion: Which river is shorter?\nAnswer:",
        "the Oak",
    ),
    "ropes": (
        {
            "id": "1",
            "background": "Heat dries wood.",
            "situation": "Shed A is hot, shed B is cool.",
            "question": "Where is the wood drier?",
            "answers": {"text": ["Shed A"]},
        },
        "Heat dries wood.\nShed A is hot, shed B is cool.\nQuestion: Where is the wood drier?\nAnswer:",
        "Shed A",
    ),
    "hotpot_qa": (
        {
            "id": "x",
            "question": "Who is older, Ann or Bo?",
            "answer": "Ann",
            "type": "comparison",
            "level": "easy",
            "supporting_facts": {"title": ["Ann", "Bo"], "sent_id": [0, 0]},
            "context": {"title": ["Ann", "Bo"], "sentences": [["Ann is 9."], ["Bo is 8."]]},
        },
        "Question: Who is older, Ann or Bo?\nAnswer:",
        "Ann",
    ),
    "wiki_qa": (
        {
            "question_id": "Q1",
            "question": "what is rust",
            "document_title": "Rust",
            "answer": "Rust is an iron oxide .",
            "label": 1,
        },
        "Question: what is rust\nAnswer in a sentence:",
        "Rust is an iron oxide .",
    ),
    "web_questions": (
        {
            "url": "http://example.org/x",
            "question": "what is spoken in ruritania?",
            "answers": ["Ruritanian", "German"],
        },
        "Question: what is spoken in ruritania?\nAnswer:",
        "German",
    ),
    "app_reviews": (
        {"package_name": "a.b", "review": "Great app", "date": "October 12 2016", "star": 5},
        "Great app\nQuestion: How many stars, from 1 to 5, does this review give?\nAnswer:",
        "5",
    ),
    **{
        name: (
            {"text": "Dull.", "label": 0},
            "Dull.\nQuestion: Is this review positive or negative?\nAnswer:",
            "negative",
        )
        for name in ("imdb", "rotten_tomatoes", "yelp_polarity")
    },
    "sst2": (
        {"sentence": "a joy ", "label": 1, "idx": 0},
        "a joy \nQuestion: Is this sentence positive or negative?\nAnswer:",
        "positive",
    ),
    "ag_news": (
        {"text": "Shares fell.", "label": 2},
        "Shares fell.\n"
        "Question: Is this news about the world, sports, business, or science and technology?\nAnswer:",
        "Business",
    ),
    "dbpedia_14": (
        {"label": 8, "title": "Dorf", "content": " Dorf is a village."},
        "Dorf is a village.\nQuestion: What kind of thing is this about?\nAnswer:",
        "Village",
    ),
    "trec": (
        {"text": "Who found radium ?", "coarse_label": 3, "fine_label": 28},
        "Question: Who found radium ?\nThe answer is a kind of:",
        "person",
    ),
    "common_gen": (
        {"concept_set_idx": 0, "concepts": ["dog", "run"], "target": "The dog runs."},
        "Words: dog, run\nA sentence with all of these words:",
        "The dog runs.",
    ),
    "wiki_bio": (
        {
            "input_text": {
                "table": {
                    "column_header": ["name", "born"],
                    "row_number": [1, 1],
                    "content": ["ann lee\n", "1901"],
                },
                "context": "ann lee\n",
            },
            "target_text": "ann lee -lrb- 1901 -rrb- was a pilot .\nshe flew .\n",
        },
        "name: ann lee\nborn: 1901\nBiography:",
        "ann lee -lrb- 1901 -rrb- was a pilot . she flew .",
    ),
    "e2e_nlg": (
        {
            "meaning_representation": "name[The Elm], food[French]",
            "human_reference": "The Elm serves French food.",
        },
        "name[The Elm], food[French]\nDescription:",
        "The Elm serves French food.",
    ),
    "cnn_dailymail": (
        {"article": "A long day.", "highlights": "It was long .\nIt ended .", "id": "0"},
        "A long day.\nSummary:",
        "It was long . It ended .",
    ),
    "xsum": (
        {"document": "Rain fell.\nMuch of it.", "summary": "It rained.", "id": "0"},
        "Rain fell.\nMuch of it.\nSummary in a sentence:",
        "It rained.",
    ),
    "mrpc": (
        {"sentence1": "He left .", "sentence2": "He went away .", "label": 1, "idx": 0},
        "Sentence 1: He left .\nSentence 2: He went away .\n"
        "Question: Do both sentences mean the same thing?\nAnswer:",
        "yes",
    ),
    "qqp": (
        {"question1": "Why?", "question2": "How?", "label": 0, "idx": 0},
        "Question 1: Why?\nQuestion 2: How?\nQuestion: Do both questions ask the same thing?\nAnswer:",
        "no",
    ),
}
