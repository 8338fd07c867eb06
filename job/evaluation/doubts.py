"""Signs, without target labels, that adaptation may have hurt: within a run, and against its own baseline."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from job.config.objectives import settings_of
from job.evaluation.agreement import SELECTION
from job.metric_names import STEP, find
from job.vocabulary import TARGET

# How far a score must fall before it counts: about twice its noise on 1,000 images. Scores that only follow the
# confidence on the target are not listed, because confident predictions hide the harm.
FALLS = {"mixval": 0.05, "class_ami": 0.1, "source_accuracy": 0.03}
# How far one score must be below that of the baseline (benchmarks.doubts measures what is caught). The networks must be
# of the same kind. class_ami is not listed: on MNIST to MNIST-M it is lower after adaptation that helps.
BELOW = {"infomax": 0.02, "mixval": 0.05}
LEARNED = 0.9  # of the best source accuracy: before that, scores are those of a network that has learned little
VOTES = 2  # scores that must agree within a run: one alone has its own weakness
SOURCE_ACCURACY = "val/source_accuracy"
FEWEST = 3  # evaluations of a network that has learned
REMEDY = (
    "lower the strength of adaptation (objective.lambda_max, or the weight of the method's term), use another method, "
    "or keep source_only"
)
ADVICE = f"compare it with source_only on the same seed and data (python -m job compare); {REMEDY}"


class Doubt(NamedTuple):
    """One score that votes against a checkpoint."""

    score: str
    value: float  # at the checkpoint
    other: float  # the better value
    where: str  # of the better value


def adapts(label: str) -> bool:
    """Return whether a method, by its name or a label such as `dann+mcc`, reads target images but no target labels."""
    method = settings_of(label)
    return method is not None and TARGET in method.reads and method.labelled != TARGET


def within_run(rows: Sequence[Mapping[str, Any]], score: str) -> tuple[int, list[Doubt]]:
    """Return the step that `score` chooses, and the scores that vote against it, or no scores.

    A score votes against the step if its value there is in the lower half of the run and below its best so far by more
    than its margin in FALLS. Evaluations before the network had learned do not count (LEARNED). At least VOTES
    scores must agree, and FEWEST evaluations count. `rows` are those of metrics.jsonl.
    """
    rows = [row for row in rows if SELECTION + score in row]
    if not rows or find(SELECTION + score).labels:
        return 0, []
    chosen = max(rows, key=lambda row: (row[SELECTION + score], row[STEP]))
    right = {row[STEP]: row.get(SOURCE_ACCURACY, 0.0) for row in rows}  # without a source every evaluation counts
    learned = LEARNED * max(right.values())
    counted = [row for row in rows if row is chosen or right[row[STEP]] >= learned]
    doubts = []
    for name, margin in FALLS.items():
        values = {row[STEP]: row[SELECTION + name] for row in counted if SELECTION + name in row}
        before = [step for step in values if step < chosen[STEP]]
        if chosen[STEP] not in values or not before or len(values) < FEWEST:
            continue
        best, value = max(before, key=lambda step: values[step]), values[chosen[STEP]]
        better = sum(other > value for other in values.values())
        if better >= len(values) / 2 and values[best] - value > margin:
            doubts.append(Doubt(name, value, values[best], f"step {best:,}"))
    return chosen[STEP], doubts if len(doubts) >= VOTES else []


def against_baseline(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[Doubt]:
    """Return the scores by which a chosen checkpoint is below the baseline's by more than their margin in BELOW.

    `row` and `baseline` are the metrics at the chosen steps of two runs on the same data and seed. Where one of them
    has no source accuracy, its infomax lacks a part, and is not compared.
    """
    doubts = []
    for name, margin in BELOW.items():
        value, other = row.get(SELECTION + name), baseline.get(SELECTION + name)
        whole = name != "infomax" or (SOURCE_ACCURACY in row) == (SOURCE_ACCURACY in baseline)
        if value is not None and other is not None and whole and other - value > margin:
            doubts.append(Doubt(name, value, other, "source_only"))
    return doubts


def listed(doubts: Sequence[Doubt]) -> str:
    """Return the doubts as text: `mixval 0.412 (0.530 at step 300) and class_ami 0.31 (...)`."""
    return " and ".join(f"{one.score} is {one.value:.3f} ({one.other:.3f} at {one.where})" for one in doubts)
