"""Alerts: problems of a run that need attention, each with a remedy.

`job/monitor/watch.py` raises those that follow from metrics. The recorder writes all alerts to the log, alerts.jsonl
and W&B.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from job.evaluation.doubts import ADVICE, Doubt, listed


@dataclass(frozen=True)
class Alert:
    title: str
    text: str
    level: str = "WARN"  # INFO, WARN or ERROR, as W&B calls them


STOPPED = "preempted or stopped"


def resumed(step: int, steps: int, logged: int, job: Mapping[str, str] | None = None, saved: bool = True) -> Alert:
    """Return the alert of a run that resumes at `step`; `logged` is the last step in metrics.jsonl.

    `job` has the numbers of restarts among Slurm's names of the job. `saved` says that the last start ended after it
    had saved a checkpoint; otherwise it crashed or was killed.
    """
    repeated = f"; steps {step + 1} to {logged} are repeated" if logged > step else ""
    names = {"restarts": "restart", "restarts_in_place": "restart in place"}
    counts = [f"{text} {job[name]}" for name, text in names.items() if job and job.get(name, "0") != "0"]
    restart = f" ({', '.join(counts)})" if counts else ""
    hint = (
        ". If this happens often, lower train.checkpoint_every or request a longer time limit"
        if restart or repeated
        else ""
    )
    title = "preempted and resumed" if saved else "resumed after a crash or a kill"
    return Alert(title, f"resuming from step {step} of {steps}{restart}{repeated}{hint}", "INFO")


def stopped(reason: str, checkpoint: str) -> Alert:
    """Return the alert of a run that stops early, after saving a checkpoint."""
    unless = ", unless Slurm restarts the job" if "SLURM_JOB_ID" in os.environ else ""
    text = f"{reason}; {checkpoint} is saved: run the same command again to resume{unless}"
    return Alert(STOPPED, text, "INFO")


def class_missing(names: Sequence[str], domain: str) -> Alert:
    """Return the alert for classes without an image in the domain whose labels are read."""
    text = (
        f"the training split of {domain} has no labelled image of {', '.join(names)}: the network can predict these "
        "classes but does not learn them. If the data set does not have them, write the shards with --option "
        "classes=folders, or list the classes"
    )
    return Alert("class without examples", text)


def may_have_hurt(step: int, score: str, doubts: Sequence[Doubt]) -> Alert:
    """Return the alert of a finished run whose other label-free scores vote against the chosen checkpoint."""
    text = (
        f"step {step} is chosen by {score}, but {listed(doubts)}: predictions on the target may have become confident "
        f"and wrong. This needs no target labels and is no proof: {ADVICE}"
    )
    return Alert("adaptation may have hurt", text)


def not_finite(message: str) -> Alert:
    """Return the alert of a run that stops because a value is not finite."""
    return Alert("NaN: the run has stopped", message, "ERROR")


def mirror_failed(message: str) -> Alert:
    """Return the alert of a run that cannot be copied to its mirror."""
    text = f"{message}: training continues, and the next checkpoint tries again. The run folder is complete"
    return Alert("copy of the run cannot be written", text)


def checkpoint_failed(message: str) -> Alert:
    """Return the alert of a checkpoint that cannot be written."""
    return Alert("checkpoint cannot be written", message, "ERROR")
