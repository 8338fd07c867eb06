"""Raise alerts from the metrics of a run, whatever the method logs.

A difference counts only if it is larger than chance on so many images. `evaluation` below is the evaluation file of a
row's step, which contains the counts. Without it only the thresholds decide.
"""

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from job.config.monitoring import Evaluation
from job.evaluation.intervals import share_difference, wilson
from job.metric_names import TARGET_SHARES
from job.monitor import label_shift
from job.monitor.alerts import Alert

GUESSING = 2 * math.log(2)  # domain loss of a classifier that always predicts 1/2
COLLAPSED, SURELY = 0.9, 0.8  # thresholds of the share of one predicted class, and of the low end of its interval
FALL = 0.05  # drop of source accuracy below its best
RISE = 0.1  # relative rise of lambda since then; a smaller rise cannot be the cause
BEHIND = 0.15  # how far the error of the domain classifier is above that of a new probe
WAIT = 0.2  # share of the time spent waiting for data
CHANCE, LEARNED = 0.98, 0.8  # class loss relative to that of a network that always predicts the class shares
IN_A_ROW = 3  # log steps with the same cause before an alert
FEW_ROWS = 20  # with fewer log steps, a run that has not learned anything raises no alert


class Watch:
    """Check each row of metrics. Each alert is raised once, and again only after its cause has disappeared.

    `probe_samples` is that of the configuration: half of them measure the errors of domain classifier and probe.
    """

    def __init__(self, probe_samples: int = Evaluation().probe_samples) -> None:
        self._probed = probe_samples // 2
        self._raised: set[str] = set()
        self._counts: dict[str, int] = {}
        self._best_source: tuple[float, float, int | None] | None = None  # accuracy, lambda, images
        self._lambda: float | None = None
        self._chance: float | None = None  # class loss of a network that always predicts the class shares
        self._class_losses = 0
        self._class_loss, self._least_class_loss = math.inf, math.inf
        self._timed = False

    def look(self, row: dict[str, Any], evaluation: dict[str, Any] | None = None) -> list[Alert]:
        """Return the new alerts of a row, which may contain NaN and infinities.

        Each check returns an Alert, False (no cause, or it has disappeared) or None (cannot be decided from this row).
        """
        self._lambda = row.get("schedule/lambda", self._lambda)
        if evaluation is not None:
            self._chance = _chance_loss(evaluation["target" if "train/target_accuracy" in row else "source"])
        checks = {
            "nan": _not_finite(row),
            "wait": self._data_wait(row),
            "chance": self._back_at_chance(row),
            "dead": self._dead_classifier(row),
            "behind": self._classifier_behind(row, evaluation),
            "collapse": self._collapse(row, evaluation),
            "falling": self._falling_source(row, evaluation),
            "shares": self._class_shares(row, evaluation),
            "label shift": self._label_shift(evaluation),
        }
        if "chance" in self._raised or isinstance(checks["chance"], Alert):
            checks["dead"] = None  # a dead encoder also stops the domain classifier: one cause, one alert
        if isinstance(checks["dead"], Alert) or "dead" in self._raised:
            checks["behind"] = None  # likewise
        if isinstance(checks["collapse"], Alert) or "collapse" in self._raised:
            checks["shares"] = None  # likewise
        new = [alert for name, alert in checks.items() if isinstance(alert, Alert) and name not in self._raised]
        for name, alert in checks.items():
            if isinstance(alert, Alert):
                self._raised.add(name)
            elif alert is False:
                self._raised.discard(name)
        return new

    def at_the_end(self) -> Alert | None:
        """Return an alert if the class loss of a finished run ended at chance level."""
        if not self._chance or not CHANCE * self._chance <= self._class_loss < math.inf:
            return None
        return Alert(
            "class loss at chance",
            f"the class loss ended at {self._class_loss:.3f}, and a network with the same output for every image has "
            f"{self._chance:.3f}: it learned nothing, or forgot it; lower optimizer.lr, set optimizer.clip_norm=1",
        )

    @property
    def has_begun(self) -> bool:
        """Whether there are enough log steps to expect that something was learned."""
        return self._class_losses >= FEW_ROWS

    def _in_a_row(self, name: str, cause: bool) -> int:
        """Count consecutive calls with a cause for the alert `name`."""
        self._counts[name] = self._counts.get(name, 0) + 1 if cause else 0
        return self._counts[name]

    def _back_at_chance(self, row: dict[str, Any]) -> Alert | bool | None:
        loss = row.get("train/class_loss")
        if loss is None:
            return None
        self._class_loss = loss
        self._class_losses += 1
        self._least_class_loss = min(self._least_class_loss, loss)
        if not self._chance or self._least_class_loss > LEARNED * self._chance:
            return None  # chance level unknown, a single class, or nothing learned yet
        times = self._in_a_row("chance", loss >= CHANCE * self._chance)
        if times < IN_A_ROW:
            return None if times else False
        dead = row.get("domain/reversed_gradient_norm") == 0
        return Alert(
            "network dead: class loss back at chance",
            f"the class loss is {loss:.3f}, as with the same output for every image ({self._chance:.3f}), "
            f"after {self._least_class_loss:.3f}"
            + (", and the reversed gradient is exactly 0: the features are constant" if dead else "")
            + ": it will not recover; start a new run with a lower optimizer.lr, optimizer.clip_norm=1 or "
            "optimizer.warmup_steps=500; checkpoints/best is from before that",
            "ERROR",
        )

    def _dead_classifier(self, row: dict[str, Any]) -> Alert | bool | None:
        loss, norm = row.get("train/domain_loss"), row.get("domain/reversed_gradient_norm")
        if loss is None or norm is None or not self._lambda or self._lambda <= 0:
            return None
        # a loss near 2 ln 2 with a gradient means alignment, not a dead classifier
        times = self._in_a_row("dead", abs(loss - GUESSING) <= 0.005 and norm / self._lambda <= 1e-5)
        if times < IN_A_ROW:
            return None if times else False
        return Alert(
            "domain classifier dead",
            f"its loss has been {loss:.4f} = 2 ln 2 for {times} log steps and no gradient reaches the encoder, so "
            "nothing is adapted: check objective.domain_weight and lambda_max, widen model.domain_hidden, raise "
            "optimizer.domain_lr_factor",
        )

    def _classifier_behind(self, row: dict[str, Any], evaluation: dict[str, Any] | None) -> Alert | bool | None:
        probe, classifier = row.get("domain/probe_error"), row.get("domain/classifier_error")
        if probe is None or classifier is None:
            return None
        surely = True
        if evaluation is not None:
            rows = sum(min(evaluation[domain]["samples"] // 2, self._probed) for domain in ("source", "target"))
            surely = share_difference(classifier * rows, rows, probe * rows, rows).low > 0
        times = self._in_a_row("behind", bool(self._lambda) and classifier - probe > BEHIND and surely)
        if times < IN_A_ROW:
            return None if times else False
        return Alert(
            "domain classifier behind",
            f"its error on validation images is {classifier:.3f}, and that of a new linear probe {probe:.3f}, at "
            f"{times} evaluations in a row: the features of the domains differ in ways that it does not use, so "
            "domain/confusion says little; set objective.gradient_penalty=1 or higher, lower "
            "objective.lambda_max, raise optimizer.domain_lr_factor",
            "INFO",  # the accuracy did not suffer where this was measured: docs/methods.md
        )

    def _collapse(self, row: dict[str, Any], evaluation: dict[str, Any] | None) -> Alert | bool | None:
        shares = _shares(row)
        if len(shares) < 2:
            return None
        name, share = max(shares.items(), key=lambda item: item[1])
        total = evaluation["target"]["samples"] if evaluation else 0
        sure = not total or wilson(share * total, total).low >= SURELY
        usual = evaluation is not None and _share_of(evaluation["source"], name, evaluation) >= SURELY
        times = self._in_a_row("collapse", share >= COLLAPSED and sure and not usual)
        if times < (1 if _learned(row, shares) else 2):  # an untrained network predicts one class too
            return None if times else False
        counted = f" ({round(share * total)} of {total} images)" if total else ""
        weaken = "lower objective.lambda_max, let lambda rise later (objective.gamma=5), or " if self._lambda else ""
        return Alert(
            "domain collapse",
            f"{100 * share:.0f} % of the target is predicted as {name}{counted}: {weaken}set "
            "objective.class_weights=balanced; a collapsed network is useless",
        )

    def _falling_source(self, row: dict[str, Any], evaluation: dict[str, Any] | None) -> Alert | bool | None:
        accuracy = row.get("val/source_accuracy")
        if accuracy is None or self._lambda is None:
            return None
        images = _labelled(evaluation["source"]) if evaluation else None
        if self._best_source is None or accuracy >= self._best_source[0]:
            self._best_source = accuracy, self._lambda, images
        best, then, images_then = self._best_source
        surely = True
        if images and images_then:
            surely = share_difference(best * images_then, images_then, accuracy * images, images).low > 0
        rises = self._lambda > then and self._lambda - then >= RISE * self._lambda
        times = self._in_a_row("falling", best - accuracy >= FALL and surely and rises)
        if times < 2:
            return None if times else False
        counted = f" ({images} images, larger than chance)" if images else ""
        return Alert(
            "source accuracy falls while lambda rises",
            f"{accuracy:.3f} after {best:.3f}{counted}, while lambda rose from {then:.2f} to {self._lambda:.2f}: the "
            "encoder loses the classes to hide the domain; lower objective.lambda_max or objective.gamma",
        )

    def _class_shares(self, row: dict[str, Any], evaluation: dict[str, Any] | None) -> Alert | bool | None:
        shares = _shares(row)
        if evaluation is None or not shares:
            return None
        estimate = evaluation.get("label_shift")
        if estimate and label_shift.is_apart(estimate):
            return None  # one fact, one alert: "label shift" says more, and a run that corrects the shares needs none
        apart = label_shift.classes_apart(evaluation)
        times = self._in_a_row("shares", bool(apart) and _learned(row, shares))
        if times < 2:
            return None if times else False
        lower = "objective.lambda_max" if self._lambda else "weight of the method's term"
        return Alert(
            "class shares differ",
            f"{'; '.join(apart)}: either the target has other class shares, and then aligning whole domains costs "
            "accuracy, or the predictions are wrong; compare with what you know about the target, try a "
            f"lower {lower} or objective.class_weights=balanced",
            "INFO",
        )

    def _label_shift(self, evaluation: dict[str, Any] | None) -> Alert | bool | None:
        alert = label_shift.alert_of(evaluation, evaluation["class_names"]) if evaluation is not None else None
        if alert is None:
            return None
        times = self._in_a_row("label shift", isinstance(alert, Alert))
        return alert if times != 1 else None

    def _data_wait(self, row: dict[str, Any]) -> Alert | bool | None:
        wait = row.get("speed/data_wait_fraction")
        if wait is None:
            return None
        if not self._timed:  # the first value includes the start-up
            self._timed = True
            return None
        times = self._in_a_row("wait", wait > WAIT)
        if times < 2:
            return None if times else False
        return Alert(
            "training waits for data",
            f"{100 * wait:.0f} % of the time: raise data.threads, data.prefetch and, if memory allows, "
            "data.decoded_gib, put data.cache_dir on a local disk, or request more CPU cores per GPU",
        )


def _not_finite(row: dict[str, Any]) -> Alert | bool:
    bad = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    if not bad:
        return False
    return Alert(
        "NaN in the metrics",
        f"{', '.join(bad)} is NaN or infinite: lower optimizer.lr, set optimizer.clip_norm=1 or "
        "optimizer.warmup_steps=500, and prefer train.precision=bf16 to fp16",
        "ERROR",
    )


def _shares(row: dict[str, Any]) -> dict[str, float]:
    return {name.removeprefix(TARGET_SHARES): value for name, value in row.items() if name.startswith(TARGET_SHARES)}


def _learned(row: dict[str, Any], shares: Collection[str]) -> bool:
    """Return whether source accuracy is above twice the level of guessing, or above half way from there to 1.

    `row` is that of an evaluation.
    """
    guessing = 1 / len(shares)
    accuracy: float = row.get("val/source_accuracy", 1.0)  # without a source, only a trained network can be adapted
    return accuracy > min(2 * guessing, (1 + guessing) / 2)


def _labelled(domain: dict[str, Any]) -> int | None:
    """Return the number of labelled images of a domain, or None without labels."""
    return None if domain["confusion"] is None else int(np.sum(domain["confusion"]))


def _share_of(domain: dict[str, Any], name: str, evaluation: dict[str, Any]) -> float:
    """Return the true share of a class in a domain; 0 without labels."""
    counts = np.sum(domain["confusion"], 1) if domain["confusion"] is not None else np.zeros(1)
    return float(counts[evaluation["class_names"].index(name)] / counts.sum()) if counts.sum() else 0.0


def _chance_loss(domain: dict[str, Any]) -> float:
    """Return the cross-entropy of a network that always predicts the class shares: ln C if they are equal."""
    if domain["confusion"] is None or not np.sum(domain["confusion"]):
        return math.log(len(domain["predicted"]))
    shares = np.sum(domain["confusion"], 1) / np.sum(domain["confusion"])
    return -float(sum(share * math.log(share) for share in shares if share > 0))
