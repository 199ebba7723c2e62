"""lm-eval, held behind one door: this room is the only importer of lm_eval, and never leaks its types.

lm-eval and torch are imported when a function is called. Scores are those of lm-eval's own command line, to
the last digit; standard errors are computed here, from the items.
"""

from evals.harness.examples import write_examples
from evals.harness.scoring import Part, evaluate_model, score, score_part, score_together
from evals.harness.spending import take_spent
from evals.harness.tasks import TaskFacts, check_task

__all__ = [
    "Part",
    "TaskFacts",
    "check_task",
    "evaluate_model",
    "score",
    "score_part",
    "score_together",
    "take_spent",
    "write_examples",
]
