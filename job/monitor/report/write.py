"""``report.html``: a run on one self-contained page that needs no network."""

import shlex
import time
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from job.config.objectives import method_label
from job.evaluation.intervals import wilson
from job.evaluation.metrics import UNMEASURED
from job.evaluation.protocol import note, protocol_of
from job.metric_names import TEST_SOURCE, TEST_TARGET, is_evaluation
from job.monitor.report import sections
from job.monitor.report.curves import charts
from job.monitor.report.label_shift import label_shift
from job.monitor.report.parts import card, cards, number_table, page, tiles
from job.run_folder.run_view import RunView
from job.system.files import write_atomically

NAME = "report.html"
REFRESH = 60  # seconds between reloads while the run is running
MOST_ALERTS = 8  # only the newest are shown
INTERVALS = (
    "95 % intervals: Wilson, which treats the images as independent. Several images of one person are not: "
    "python -m job evaluate draws whole subjects (bootstrap), so its intervals differ from these."
)


def write_report(run: RunView) -> Path:
    """Write the report of a run atomically, with the figures that are in its folder; return its path."""
    status = str(run.status.get("status", "running"))
    body = _head(run, status) + _alerts(run) + cards("Curves", *charts(run, per_class=False), small=True)
    for section in (
        sections.classes,
        label_shift,
        sections.features,
        sections.faces,
        sections.selection,
        sections.test_split,
        sections.profile,
    ):
        body += section(run)
    body += _reproduce(run)
    path = run.folder / NAME
    write_atomically(path, page(run.config["name"], body, REFRESH if status == "running" else None))
    return path


def _head(run: RunView, status: str) -> str:
    step, steps = run.last("trainer/step") or 0, run.config["train"]["steps"]
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    objective, backbone = method_label(run.config["objective"]), run.config["model"]["backbone"]
    line = f"{objective}, {backbone}, seed {run.config['seed']}; step {step:,} of {steps:,}; written {now}"
    speed = {
        "images a second": _rounded(run.last("speed/images_per_second")),
        "of the time waiting for data": _percent(run.last("speed/data_wait_fraction")),
    }
    values = (_result(run) if run.test and run.summary else _so_far(run)) | speed
    intervals = f'<p class="note">{escape(INTERVALS)}</p>' if any("95 % (Wilson)" in name for name in values) else ""
    return (
        (
            f'<header><h1>{escape(run.config["name"])}</h1><span class="badge {escape(status)}">{escape(status)}</span>'
            f'<p>{escape(line)}</p></header><div class="bar"><i style="width:{100 * step / steps:.1f}%"></i></div>'
        )
        + "".join(f'<p class="note">{line}</p>' for line in note(protocol_of(run.config)))
        + tiles(values)
        + intervals
    )


def _result(run: RunView) -> dict[str, str | None]:
    """Return the results of a finished run: the chosen checkpoint on the test splits."""
    chosen = run.summary.get("selection/chosen_step")
    row = next((row for row in run.rows if row["trainer/step"] == chosen and is_evaluation(row)), {})
    at = f"step {chosen}"
    return {
        _counted("source accuracy, test", run.test["source"]): _fixed(run.summary.get(TEST_SOURCE)),
        _counted("target accuracy, test (oracle)", run.test["target"]): _fixed(run.summary.get(TEST_TARGET))
        or "not measured",
        f"chosen by {run.summary.get('selection/chosen_by')}": None if chosen is None else at,
        f"proxy A-distance at {at} (0: indistinguishable, 2: separable)": _fixed(row.get("domain/a_distance")),
    }


def _so_far(run: RunView) -> dict[str, str | None]:
    """Return the results of a running run: its last evaluation on the validation splits."""
    last = run.evaluations[-1] if run.evaluations else None
    target = None
    if last is not None:
        target = _fixed(run.last("oracle/target_accuracy")) or "not measured"
    return {
        _counted("source accuracy, validation", last and last["source"]): _fixed(run.last("val/source_accuracy")),
        _counted("target accuracy, validation (oracle)", last and last["target"]): target,
        "domain confusion (1: the classifier guesses)": _fixed(run.last("domain/confusion")),
        "proxy A-distance (0: indistinguishable, 2: separable)": _fixed(run.last("domain/a_distance")),
    }


def _counted(name: str, domain: dict[str, Any] | None) -> str:
    """Append the 95 % interval of an accuracy and its number of images to its name."""
    if domain is None:
        return name
    matrix = domain["confusion"]
    total = int(np.sum(matrix)) if matrix is not None else 0
    if not total:
        return f"{name.removesuffix(' (oracle)')}: {UNMEASURED.partition(':')[0]}"
    low, high = wilson(int(np.trace(matrix)), total)
    images = f"{total} images" if total == sum(domain["predicted"]) else f"{total} of {sum(domain['predicted'])} images"
    return f"{name}; 95 % (Wilson): {low:.3f} to {high:.3f}, {images}"


def _alerts(run: RunView) -> str:
    content = "".join(
        f'<div class="card alert {escape(str(alert["level"]))}"><h3>{escape(str(alert["title"]))} '
        f"(step {escape(str(alert['trainer/step']))})</h3>{escape(str(alert['text']))}</div>"
        for alert in run.alerts[-MOST_ALERTS:][::-1]
    )
    return f"<h2>Alerts</h2>{content}" if content else ""


def _reproduce(run: RunView) -> str:
    again = shlex.quote(f"{run.config['name']}-again")
    command = f"launch/local.sh {shlex.quote(str(run.folder / 'config.yaml'))} name={again}"
    version = run.facts.get("code_version")
    checkout = f"git checkout {str(version).removesuffix('+changes')}\n" if version else ""
    config = escape(yaml.safe_dump(run.config, sort_keys=False))
    files = "metrics.jsonl has the metrics, evaluation/ the confusion matrices, figures/ the figures, log.txt the log"
    content = cards(
        "Reproduce",
        card("Environment", number_table(run.facts)),
        card("Command", f"<pre>{escape(checkout + command)}</pre>", files),
    )
    return (
        f"{content}<h2>Configuration</h2>"
        f'<details class="card"><summary>config.yaml</summary><pre>{config}</pre></details>'
    )


def _fixed(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f} %"
