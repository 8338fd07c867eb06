"""What somebody should know about a run while it can still be saved, and what to do about it.

Pure: metrics in, alerts out. The recorder passes them on to the log and to W&B.
"""

import math
from dataclasses import dataclass
from typing import Any

CANNOT_TELL = 2 * math.log(2)  # the domain loss of a classifier that answers 1/2 to everything
COLLAPSED = 0.9  # share of the target predicted as one class
FALL = 0.05  # of source accuracy below its best
WAIT = 0.2  # share of the time


@dataclass(frozen=True)
class Alert:
    title: str
    text: str
    level: str = "WARN"  # INFO, WARN or ERROR, as W&B calls them


class Watch:
    """Looks at every row of metrics. Each alert is given once, and again only after its cause had gone."""

    def __init__(self, adversarial: bool) -> None:
        self._adversarial = adversarial
        self._raised: set[str] = set()
        self._dead = 0  # log steps from the first on, without a break, as a dead classifier gives them
        self._alive = False
        self._counts: dict[str, int] = {}
        self._best_source: tuple[float, float] | None = None  # accuracy, lambda then
        self._lambda = 0.0
        self._timed = False

    def look(self, row: dict[str, Any]) -> list[Alert]:
        """Alerts that a row gives cause for. NaN and infinities may still be in it."""
        self._lambda = row.get("schedule/lambda", self._lambda)
        found = {"nan": self._not_finite(row), "wait": self._data_wait(row)}
        if self._adversarial:
            found["dead"] = self._dead_classifier(row)
            found["collapse"] = self._collapse(row)
            found["falling"] = self._falling_source(row)
        new = [alert for name, alert in found.items() if isinstance(alert, Alert) and name not in self._raised]
        for name, alert in found.items():
            if isinstance(alert, Alert):
                self._raised.add(name)
            elif alert is False:  # the cause has gone; None says nothing about it
                self._raised.discard(name)
        return new

    def _in_a_row(self, name: str, cause: bool) -> int:
        """How many times without a break there has been a cause for what is called `name`."""
        self._counts[name] = self._counts.get(name, 0) + 1 if cause else 0
        return self._counts[name]

    def _not_finite(self, row: dict[str, Any]) -> Alert | bool:
        bad = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
        if not bad:
            return False
        return Alert(
            "NaN in the metrics",
            f"{', '.join(bad)} is NaN or infinite: lower optimizer.lr, set optimizer.clip_norm=1 or "
            "optimizer.warmup_steps=500, and prefer train.precision=bf16 to fp16",
            "ERROR",
        )

    def _dead_classifier(self, row: dict[str, Any]) -> Alert | bool | None:
        loss, norm = row.get("train/domain_loss"), row.get("domain/reversed_gradient_norm")
        if loss is None or norm is None or self._alive or self._lambda <= 0:
            return None
        if abs(loss - CANNOT_TELL) > 0.005 or norm / self._lambda > 1e-5:
            self._alive = True  # it moved: a loss near 2 ln 2 later on is alignment, not death
            return False
        self._dead += 1
        if self._dead < 3:
            return None
        return Alert(
            "domain classifier dead",
            f"its loss has been {loss:.4f} = 2 ln 2 from the first steps and no gradient reaches the encoder, so "
            "nothing is adapted: check objective.domain_weight and lambda_max, widen model.domain_hidden, raise "
            "optimizer.domain_lr_factor",
        )

    def _collapse(self, row: dict[str, Any]) -> Alert | bool | None:
        prefix = "val/target_prediction_share/"
        shares = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
        if len(shares) < 2:
            return None
        name, share = max(shares.items(), key=lambda item: item[1])
        times = self._in_a_row("collapse", share >= COLLAPSED)
        learned = row.get("val/source_accuracy", 0.0) > 2 / len(shares)  # else both domains may be untrained still
        if times < (1 if learned else 2):
            return None if times else False
        return Alert(
            "domain collapse",
            f"{100 * share:.0f} % of the target is taken for {name}: lower objective.lambda_max, let lambda rise later "
            "(objective.gamma=5), or set objective.class_weights=balanced; a collapsed network is of no use",
        )

    def _falling_source(self, row: dict[str, Any]) -> Alert | bool | None:
        accuracy = row.get("val/source_accuracy")
        if accuracy is None:
            return None
        if self._best_source is None or accuracy >= self._best_source[0]:
            self._best_source = accuracy, self._lambda
        best, then = self._best_source
        times = self._in_a_row("falling", best - accuracy >= FALL and self._lambda > then)
        if times < 2:
            return None if times else False
        return Alert(
            "source accuracy falls while lambda rises",
            f"{accuracy:.3f} after {best:.3f}, while lambda went from {then:.2f} to {self._lambda:.2f}: the encoder "
            "gives up the emotions to hide the domain; lower objective.lambda_max or objective.gamma",
        )

    def _data_wait(self, row: dict[str, Any]) -> Alert | bool | None:
        wait = row.get("speed/data_wait_fraction")
        if wait is None:
            return None
        if not self._timed:  # the first one has the start-up in it
            self._timed = True
            return None
        times = self._in_a_row("wait", wait > WAIT)
        if times < 2:
            return None if times else False
        return Alert(
            "training waits for data",
            f"{100 * wait:.0f} % of the time: raise data.threads, data.prefetch and, if memory allows, "
            "data.decoded_gib, put data.cache_dir on a local disk, or ask for more CPU cores per GPU",
        )


def resumed(step: int, steps: int, logged: int, restarts: str | None = None) -> Alert:
    """A run goes on from a checkpoint at `step`; `logged` is the last step that it had come to."""
    again = f"; steps {step + 1} to {logged} are done again" if logged > step else ""
    often = f" (restart {restarts})" if restarts and restarts != "0" else ""
    hint = (
        ". If it happens often, lower train.checkpoint_every or ask for a longer time limit" if often or again else ""
    )
    return Alert("preempted and resumed", f"goes on from step {step} of {steps}{often}{again}{hint}", "INFO")


def stopped(reason: str, checkpoint: str) -> Alert:
    """A run ends before its time, after a checkpoint."""
    text = f"{reason}; {checkpoint} is saved: the same command, or Slurm, goes on from it"
    return Alert("preempted or stopped", text, "INFO")


def not_finite(message: str) -> Alert:
    return Alert("NaN: the run has stopped", message, "ERROR")


def checkpoint_failed(message: str) -> Alert:
    return Alert("checkpoint cannot be written", message, "ERROR")
