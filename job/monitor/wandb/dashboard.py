"""`python -m job dashboard`: create a W&B workspace and a report for the project, with wandb-workspaces.

The package is optional (requirements-dashboard.txt). Only `save` contacts a server; `as_json` needs no network.
"""

import json
from collections.abc import Sequence
from typing import Any

from job.metric_names import (
    ADAPTATION,
    OVERVIEW,
    PANELS,
    PER_CLASS,
    SPEED,
    STEP,
    TEST_SOURCE,
    TEST_TARGET,
    panel_pattern,
)
from job.metric_names import title as title_of
from job.system.errors import JobError, first_line

GPU = {"GPU, %": r"^system/gpu\.\d+\.gpu(/l:.*)?$", "GPU memory, %": r"^system/gpu\.\d+\.memoryAllocated(/l:.*)?$"}
LINES: dict[str, dict[str, str]] = {}  # section -> panels: title -> pattern of metrics
for _panel in PANELS.values():
    LINES.setdefault(_panel.section, {})[_panel.title] = panel_pattern(_panel.title)
LINES[SPEED] |= GPU
MEDIA = {
    ADAPTATION: ["figures/features_by_domain", "figures/features_by_emotion", "figures/domain_predictions"],
    PER_CLASS: [
        *("figures/confusion_source", "oracle/confusion_target", "figures/target_classes"),
        *("figures/target_faces", "figures/mistakes_source", "oracle/mistakes_target"),
    ],
}
COMPARED_TESTS = (TEST_TARGET, TEST_SOURCE)
OVER_SEEDS = ("oracle/target_accuracy", "val/source_accuracy")
COMPARE = "Compare by objective"


def build(entity: str, project: str) -> tuple[Any, Any]:
    """Return the workspace and the report as wandb-workspaces objects. Raise JobError if that package is missing."""
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError:
        raise JobError(
            "the dashboard needs wandb-workspaces: pip install --requirement requirements-dashboard.txt"
        ) from None
    sections = {
        name: [_line(wr, title, pattern) for title, pattern in panels.items()] + _media(wr, MEDIA.get(name, ()))
        for name, panels in LINES.items()
    }
    sections[COMPARE] = _comparison(wr)
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name="Domain adaptation",
        sections=[
            ws.Section(name=name, panels=_arranged(wr, panels), is_open=name in (OVERVIEW, ADAPTATION), pinned=True)
            for name, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, group_by_prefix="first", max_runs=20),
        runset_settings=ws.RunsetSettings(
            pinned_columns=[*(f"summary:{name}" for name in COMPARED_TESTS), "config:seed"]
        ),
    )
    runset = wr.Runset(name="runs")  # without entity and project: those of the report, no lookup
    groups = wr.Runset(name="by objective", groupby=["group"])
    blocks: list[Any] = [
        wr.P("Panels named oracle need target labels: they are for analysis only and influence nothing.")
    ]
    for name, panels in sections.items():
        blocks += [
            wr.H2(name),
            wr.PanelGrid(runsets=[groups if name == COMPARE else runset], panels=_arranged(wr, panels)),
        ]
    report = wr.Report(
        entity=entity,
        project=project,
        title="Emotions across domains",
        description="Training, adaptation and speed of all runs.",
        blocks=blocks,
        width="fluid",
    )
    return workspace, report


def as_json(entity: str, project: str) -> str:
    """Return the workspace and the report as the JSON that `save` would send."""
    models = {
        name: json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))
        for name, view in zip(("workspace", "report"), build(entity, project), strict=True)
    }
    return json.dumps(models, indent=1)


def save(entity: str, project: str) -> list[str]:
    """Write both to the server; return their URLs. Raise JobError when the server refuses or cannot be reached."""
    workspace, report = build(entity, project)
    try:
        workspace.save()
        report.save()
    except Exception as error:  # the client raises errors of many types: no key, no network, no such entity
        raise JobError(
            f"cannot write the dashboard of {entity}/{project} ({first_line(error)}): check the names, `wandb "
            "login` and the network, or print it with --dry-run"
        ) from None
    return [workspace.url, report.url]


def _line(wr, title: str, pattern: str):
    return wr.LinePlot(title=title, x=STEP, metric_regex=pattern)


def _media(wr, names: Sequence[str]) -> list:
    return [wr.MediaBrowser(title=name.partition("/")[2].replace("_", " "), media_keys=[name]) for name in names]


def _comparison(wr) -> list:
    spread = {"groupby": "Group", "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    bars = [wr.BarPlot(title=title_of(name), metrics=[name], **spread) for name in COMPARED_TESTS]
    lines = [wr.LinePlot(title=title_of(name), x=STEP, y=[name], **spread) for name in OVER_SEEDS]
    return [*bars, *lines, wr.RunComparer(diff_only="split")]


def _arranged(wr, panels: Sequence, columns: int = 3, width: int = 8, height: int = 7) -> list:
    """Set the layout of the panels of a section: three in a row of 24 columns."""
    for number, panel in enumerate(panels):
        panel.layout = wr.Layout(x=number % columns * width, y=number // columns * height, w=width, h=height)
    return list(panels)
