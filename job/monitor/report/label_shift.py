"""The section of the report about the class shares of the target, estimated without its labels."""

from collections.abc import Mapping
from typing import Any

from job.monitor.label_shift import verdict
from job.monitor.report.parts import card, cards, table
from job.run_folder.run_view import RunView


def label_shift(run: RunView) -> str:
    """Return a table of the class shares of both domains at the last evaluation, with 95 % intervals."""
    last = run.evaluations[-1] if run.evaluations else None
    estimate = last and last.get("label_shift")
    if not last or not estimate:
        return ""
    total = max(sum(last["target"]["predicted"]), 1)
    heads = ["class", "source", "target, MLLS (95 %)", "target, BBSE (95 %)", "target, as predicted"]
    rows = [
        [
            name,
            _percent(share),
            _interval(estimate["target"], i),
            _interval(estimate["black_box"], i),
            _percent(n / total),
        ]
        for i, (name, share, n) in enumerate(zip(last["class_names"], estimate["source"], last["target"]["predicted"]))
    ]
    note = f"validation, step {last['step']:,}; needs no target labels. {verdict(estimate)}"
    if estimate.get("corrected"):
        note += f". The correction uses {100 * estimate['trust']:.0f} % of the difference (MLLS) from the source"
    return cards("Class shares of the target", card("Estimates", table(heads, rows), note, wide=True))


def _interval(shares: Mapping[str, Any], i: int) -> str:
    low, high = 100 * shares["low"][i], 100 * shares["high"][i]
    return f"{_percent(shares['share'][i])} ({low:.1f} to {high:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
