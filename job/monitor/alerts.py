"""Alerts: what somebody should know about a run while it can still be saved, and what to do about it.

`job/monitor/watch.py` finds those that the metrics give cause for; the recorder passes all of them on to the log,
alerts.jsonl and W&B.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Alert:
    title: str
    text: str
    level: str = "WARN"  # INFO, WARN or ERROR, as W&B calls them


STOPPED = "preempted or stopped"


def resumed(step: int, steps: int, logged: int, restarts: str | None = None, saved: bool = True) -> Alert:
    """A run resumes from a checkpoint at `step`; `logged` is the last step that it had come to.

    `saved`: whether the last start ended after a checkpoint of its own; else it crashed or was killed.
    """
    again = f"; steps {step + 1} to {logged} are done again" if logged > step else ""
    often = f" (restart {restarts})" if restarts and restarts != "0" else ""
    hint = (
        ". If it happens often, lower train.checkpoint_every or ask for a longer time limit" if often or again else ""
    )
    title = "preempted and resumed" if saved else "resumed after a crash or a kill"
    return Alert(title, f"goes on from step {step} of {steps}{often}{again}{hint}", "INFO")


def stopped(reason: str, checkpoint: str) -> Alert:
    """A run ends before its time, after a checkpoint."""
    text = f"{reason}; {checkpoint} is saved: the same command, or Slurm, goes on from it"
    return Alert(STOPPED, text, "INFO")


def not_finite(message: str) -> Alert:
    return Alert("NaN: the run has stopped", message, "ERROR")


def checkpoint_failed(message: str) -> Alert:
    return Alert("checkpoint cannot be written", message, "ERROR")
