"""The W&B dashboard without a server: the JSON that would be sent, and its errors."""

import json
import re
import sys

import pytest
from click.testing import CliRunner

from job.__main__ import main
from job.monitor.wandb import dashboard
from job.system.errors import JobError

PUBLIC_METRICS = {
    *("train/class_loss", "train/domain_loss", "train/source_accuracy"),
    *("domain/accuracy", "domain/confusion", "domain/a_distance", "domain/reversed_gradient_norm"),
    *("schedule/lambda", "schedule/lr", "val/source_accuracy", "selection/infomax"),
    *("oracle/target_accuracy", "oracle/target_macro_f1", "oracle/target_recall/joy"),
    *("speed/images_per_second", "speed/data_wait_fraction", "speed/step_p50_ms", "speed/step_p95_ms"),
    *("speed/checkpoint_seconds", "data/skipped_samples", "test/source_accuracy", "oracle/test_target_accuracy"),
}


def test_each_public_metric_has_a_panel():
    exact = {*dashboard.COMPARED_TESTS, *dashboard.OVER_SEEDS}
    patterns = [pattern for panels in dashboard.LINES.values() for pattern in panels.values()]
    assert not [name for name in PUBLIC_METRICS - exact if not any(re.search(pattern, name) for pattern in patterns)]
    for name in ("train/coral_loss", "train/discrepancy", "train/entropy"):
        assert any(re.search(pattern, name) for pattern in patterns), name


def test_media_panels_show_existing_figures():
    from job.monitor.figures.draw import FIGURES

    assert {name for names in dashboard.MEDIA.values() for name in names} <= set(FIGURES)


def test_dry_run_prints_json_without_network_or_key(monkeypatch, tmp_path):
    pytest.importorskip(
        "wandb_workspaces", reason="optional package: pip install --requirement requirements-dashboard.txt"
    )
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    result = CliRunner().invoke(main, ["dashboard", "--entity", "me", "--dry-run"], standalone_mode=False)
    assert result.exception is None
    content = json.loads(result.output)
    spec = content["workspace"]["spec"]
    sections = {section["name"]: section for section in spec["section"]["panelBankConfig"]["sections"]}
    assert list(sections) == ["Overview", "Adaptation", "Per emotion", "Speed", "Compare by objective"]
    assert all(len(section["panels"]) >= 4 for section in sections.values())
    lines = [p["config"] for s in sections.values() for p in s["panels"] if p["viewType"] == "Run History Line Plot"]
    assert lines
    assert {line["xAxis"] for line in lines} == {"trainer/step"}
    assert "Compare by objective" in json.dumps(content["report"])


def test_missing_package_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(JobError, match=r"pip install --requirement requirements-dashboard\.txt"):
        dashboard.build("me", "p")


def test_server_error_is_one_clear_error(monkeypatch, tmp_path):
    pytest.importorskip(
        "wandb_workspaces", reason="optional package: pip install --requirement requirements-dashboard.txt"
    )
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(JobError, match=r"cannot write the dashboard of me/p \(.*\): check the names"):
        dashboard.save("me", "p")
