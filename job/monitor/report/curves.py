"""Curves of the report: a chart for each panel of job/metric_names.py with metrics of the run."""

from collections.abc import Sequence

from job.metric_names import OTHER, PANELS, PER_CLASS, Panel, by_panel, find, title
from job.monitor.colours import GREY, LINES, ROLE, class_colours
from job.monitor.report.parts import card
from job.monitor.report.svg import Line, line_chart
from job.run_folder.run_view import RunView


def charts(run: RunView, per_class: bool) -> list[str]:
    """Return the cards of the per-class panels, or of all other panels, in the order of PANELS."""
    names = dict.fromkeys(name for row in run.rows for name in row)
    cards = []
    for panel, members in by_panel(names).items():
        about = PANELS.get(panel, Panel(OTHER, ""))
        if (about.section == PER_CLASS) == per_class:
            cards += [_card(run, about, group) for group in _groups(panel, members)]
    return cards


def _groups(panel: str, members: Sequence[str]) -> list[list[str]]:
    """Group the metrics of a panel by chart: all in one, but unlisted metrics in a chart each."""
    return [[name] for name in members] if panel == OTHER else [list(members)]


def _card(run: RunView, panel: Panel, names: Sequence[str]) -> str:
    colours = _colours(names)
    lines = [Line(title(name), *run.series(name), colours[name], find(name).labels) for name in names]
    reference = panel.reference if panel.of in names else None
    chart = line_chart(lines, y=panel.y, reference=reference, end=run.config["train"]["steps"])
    note = panel.note if reference is not None or not panel.of else ""
    heading = title(names[0]) if panel.title == OTHER else panel.title
    return card(heading, chart, note, oracle=all(find(name).labels for name in names))


def _colours(names: Sequence[str]) -> dict[str, str]:
    """Choose line colours: fixed for classes, source and target; grey for training beside validation."""
    if find(names[0]).name.endswith("recall/*") or find(names[0]).name.endswith("share/*"):
        return dict(zip(names, class_colours([title(name) for name in names]), strict=True))
    roles = [next((role for role in ROLE if name.partition("/")[2].startswith(role)), None) for name in names]
    pairs = list(zip(names, roles, strict=True))
    if len(names) > 1 and any(roles) and all(role or name.startswith("train/") for name, role in pairs):
        return {n: GREY if n.startswith("train/") or role is None else ROLE[role] for n, role in pairs}
    return {name: LINES[number % len(LINES)] for number, name in enumerate(names)}
