"""A comparison as text: the table that `python -m job compare` prints, and its remarks."""

from collections.abc import Mapping
from typing import Any

from job.config.objectives import without_settings
from job.evaluation.compare import LOWER, UPPER
from job.evaluation.compare_scores import preference, score_table
from job.evaluation.doubts import REMEDY
from job.evaluation.metrics import UNMEASURED
from job.evaluation.protocol import note, protocol_of
from job.vocabulary import DOMAINS


def table(comparison: dict) -> str:
    """Return the comparison as a table with its remarks."""
    width = max(17, *map(len, comparison["objectives"]))
    lines = [
        f"{'objective':<{width}} {'seeds':>5}  {'source test (95 %)':>32}  {'target test (95 %)':>32}  "
        f"{'gap closed':>22}"
    ]
    for objective, row in comparison["objectives"].items():
        source, target = (spread_text(row[role], len(row["seeds"]), "+-") for role in DOMAINS)
        closed = gap_text(row) if "gap" in comparison else "-"
        lines.append(f"{objective:<{width}} {len(row['seeds']):>5}  {source:>32}  {target:>32}  {closed:>22}")
    scores = [
        f"{name:<{width}} " + "  ".join(f"{cell:>16}" for cell in cells) for name, *cells in score_table(comparison)
    ]
    return "\n".join([*lines, *remarks(comparison), *([""] if scores else []), *scores, *preference(comparison)])


def spread_text(spread: dict[str, Any] | None, seeds: int, sign: str = "\u00b1") -> str:
    """Format a mean, its standard deviation over seeds and its 95 % interval: `0.7100 ± 0.0141 (0.664 to 0.752)`."""
    if spread is None:
        return "not measured"
    # two seeds may agree to four digits: a deviation of 0.0000 would look like certainty
    deviation = f" {sign} {spread['std']:.4f}" if seeds > 1 and spread["std"] >= 0.00005 else ""
    interval = spread["interval"]
    return f"{spread['mean']:.4f}{deviation}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def gap_text(row: dict[str, Any]) -> str:
    """Format the share of the gap that an objective closes: `50 % (39 to 61 %)`."""
    closed, interval = row.get("gap_closed"), row.get("gap_closed_interval")
    if closed is None:
        return "within noise"
    return f"{100 * closed:.0f} %" + (f" ({100 * interval[0]:.0f} to {100 * interval[1]:.0f} %)" if interval else "")


def remarks(comparison: dict) -> list[str]:
    """Return the remarks on the table: what was not measured or is within noise, and the source of the intervals."""
    rows = comparison["objectives"].values()
    doubts = [*note(protocol_of(comparison)), *(_doubt(each) for each in comparison.get("doubts", ()))]
    if any(row["target"] is None for row in rows):
        return [*doubts, UNMEASURED, *_without_labels(comparison["runs"])]
    gap = comparison.get("gap")
    lines = doubts
    if gap is not None and gap["within_noise"]:
        around = f" (95 %: {gap['interval'][0]:+.4f} to {gap['interval'][1]:+.4f})" if gap["interval"] else ""
        count = f" of {gap['images']} test images" if gap["images"] else ""
        lines.append(f"the gap, {gap['value']:+.4f}{around}, is within noise{count}: shares of it are not reported")
    lines += _no_single_gap(comparison["objectives"])
    images = {row["target"]["images"] for row in rows}
    sources = [f"{images.pop()} labelled target test images"] if len(images) == 1 and None not in images else []
    sources += ["the variation over seeds"] if any(len(row["seeds"]) > 1 for row in rows) else []
    if sources:
        lines.append(f"95 % intervals, from {' and '.join(sources)}; images are treated as independent")
    return lines


def _no_single_gap(objectives: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say which bound of the gap has several settings, if any, and the other has a row at all."""
    bounds = [(without_settings(name), row) for name, row in objectives.items()]
    several = sorted({name for name, row in bounds if name in (LOWER, UPPER) and "settings" in row})
    if not several or {LOWER, UPPER} - {name for name, _ in bounds}:
        return []
    return [f"{' and '.join(several)} with several settings: no gap is computed; leave out all but one of them"]


def _doubt(doubt: dict[str, Any]) -> str:
    """Describe an adapted run whose scores are below those of its baseline."""
    scores = " and ".join(f"{name} {one:.3f} against {other:.3f}" for name, (one, other) in doubt["scores"].items())
    return (
        f"{doubt['run']}: adaptation may have hurt: by scores without target labels it is below {doubt['baseline']} "
        f"({scores}); {REMEDY}"
    )


def _without_labels(runs: list[dict]) -> list[str]:
    """Describe the predictions of each run on the unlabelled target: the most frequent class, and the entropy."""
    lines = []
    for run in runs:
        shares = run["images"].get("target_predictions")
        if shares:
            name, share = max(shares.items(), key=lambda item: item[1])
            entropy = 100 * run["images"]["target_entropy"]
            lines.append(
                f"{run['run']}: {100 * share:.0f} % of the target test images are predicted as {name}, the most "
                f"frequent class; the entropy of the predictions is {entropy:.0f} % of the maximum"
            )
    return lines
