"""A training run resumes exactly, gives the same numbers on any ranks, leaks no labels, and reports its end."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from job.config.load import build_config
from job.evaluation.evaluator import Evaluator
from job.shards.manifest import Manifest
from job.system.errors import EXIT_STOPPED, JobError
from job.train import train
from tests.support.manifests import accept_changes
from tests.support.running import (
    SMALL,
    assert_same_weights,
    finish,
    kill_at,
    merge,
    needs_compiler,
    rows,
    start,
    stop_at_step,
    weights,
)

DESIGN = {
    *("trainer/step", "trainer/epoch_source", "trainer/epoch_target"),
    *("train/class_loss", "train/domain_loss", "train/source_accuracy"),
    *("domain/accuracy", "domain/confusion", "domain/a_distance", "domain/reversed_gradient_norm"),
    *("domain/probe_error", "domain/classifier_error"),
    *("schedule/lambda", "schedule/lr"),
    *("val/source_accuracy", "val/source_macro_f1", "selection/infomax", "selection/source_accuracy"),
    *("oracle/target_accuracy", "oracle/target_macro_f1", "oracle/target_recall/joy"),
    *("speed/images_per_second", "speed/data_wait_fraction", "speed/step_p50_ms", "speed/step_p95_ms"),
    *("speed/checkpoint_seconds", "data/skipped_samples"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, faces):
    """One rank, never interrupted; the same configuration as `small()`."""
    output = tmp_path_factory.mktemp("undisturbed")
    content = merge(SMALL, {"name": "whole", "output": str(output), "data": {"shards": str(faces)}})
    config = build_config(content, "test")
    assert train(config) == 0
    return config


def test_every_metric_of_the_design_is_logged(undisturbed):
    seen = set().union(*rows(undisturbed))
    assert not DESIGN - seen
    summary = json.loads((undisturbed.run_folder / "summary.json").read_text())
    assert not {*DESIGN, "test/source_accuracy", "oracle/test_target_accuracy"} - set(summary)
    assert [row["trainer/step"] for row in rows(undisturbed)] == list(range(1, 25))


def test_the_run_folder_is_as_documented(undisturbed):
    folder = undisturbed.run_folder
    assert {path.name for path in folder.iterdir()} >= {
        "config.yaml", "log.txt", "metrics.jsonl", "summary.json", "wandb", "evaluation", "checkpoints",
    }  # fmt: skip
    assert (folder / "checkpoints" / "latest").resolve().name == "step_00000024"
    assert (folder / "checkpoints" / "best").resolve().is_dir()
    meta = json.loads((folder / "checkpoints" / "latest" / "meta.json").read_text())
    assert {"step", "fingerprint", "manifest", "ranks", "wandb_id", "scores", "config"} <= set(meta)
    assert json.loads((folder / "status.json").read_text()) == {"status": "finished", "exit_code": 0}


def test_a_finished_run_started_again_changes_nothing(undisturbed):
    before = rows(undisturbed), (undisturbed.run_folder / "summary.json").read_text()
    assert train(undisturbed) == 0
    assert (rows(undisturbed), (undisturbed.run_folder / "summary.json").read_text()) == before


@pytest.mark.slow
def test_killed_at_a_random_step_and_started_again_it_ends_with_the_same_weights(small, tmp_path, undisturbed):
    config = small(name="killed")
    kill_at(config, tmp_path, random.randint(6, 20))
    assert train(config) == 0
    assert_same_weights(weights(config), weights(undisturbed))
    assert [row["trainer/step"] for row in rows(config)] == list(range(1, 25))


def test_the_stop_file_ends_a_run_with_75_and_the_same_command_resumes(small, undisturbed):
    config = small(name="stopped")
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "stop").touch()
    assert train(config) == EXIT_STOPPED
    log = (config.run_folder / "log.txt").read_text()
    assert (
        log.count(f"requested by {config.run_folder}/stop; {config.run_folder}/checkpoints/step_00000001 is saved") == 1
    )
    assert json.loads((config.run_folder / "status.json").read_text()) == {"status": "stopped", "exit_code": 75}
    assert (config.run_folder / "checkpoints" / "latest").resolve().name == "step_00000001"
    assert train(config) == 0
    assert_same_weights(weights(config), weights(undisturbed))


def test_sigterm_ends_a_run_with_75_after_a_checkpoint(small, undisturbed, monkeypatch):
    config = small(name="terminated")
    with monkeypatch.context() as patched:
        stop_at_step(patched, random.randint(1, 20))
        assert train(config) == EXIT_STOPPED
    assert (config.run_folder / "checkpoints" / "latest").exists()
    assert train(config) == 0
    assert_same_weights(weights(config), weights(undisturbed))


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory, undisturbed):
    tmp_path = tmp_path_factory.mktemp("two")
    config = undisturbed.model_copy(
        update={
            "name": "two",
            "output": str(tmp_path),
            "data": undisturbed.data.model_copy(update={"record_keys": True}),
        }
    )
    finish(start(config, tmp_path, ranks=2))
    return config


@pytest.mark.slow
def test_losses_of_one_and_two_ranks_agree(undisturbed, on_two_ranks):
    for one, two in zip(rows(undisturbed), rows(on_two_ranks), strict=True):
        for name in ("train/class_loss", "train/domain_loss", "domain/confusion", "domain/reversed_gradient_norm"):
            assert two[name] == pytest.approx(one[name], abs=1e-4), (one["trainer/step"], name)
    assert_same_weights(weights(on_two_ranks), weights(undisturbed), tolerance=1e-4)


@pytest.mark.slow
def test_two_ranks_log_which_is_the_slower(undisturbed, on_two_ranks):
    for row in rows(on_two_ranks):
        assert row["speed/slowest_rank"] >= 1
        assert row["speed/slowest_rank_number"] in (0, 1)
        assert row["speed/rank_work_ms"] * row["speed/slowest_rank"] > 0
    assert "speed/slowest_rank" not in rows(undisturbed)[-1]


@pytest.mark.slow
def test_killed_and_started_again_on_two_ranks(small, tmp_path, on_two_ranks):
    config = small(name="killed-two")
    kill_at(config, tmp_path, random.randint(6, 20), ranks=2)
    finish(start(config, tmp_path, ranks=2))
    assert_same_weights(weights(config), weights(on_two_ranks))


def keys_by_step(config) -> list[dict]:
    """Sample keys of each step and domain, all ranks' together in the order of the ranks."""
    steps: dict[int, dict] = {}
    for path in sorted((config.run_folder / "keys").glob("rank_*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            for domain in ("source", "target"):
                steps.setdefault(row["step"], {}).setdefault(domain, []).extend(row[domain])
    return [steps[step] for step in sorted(steps)]


@pytest.mark.slow
def test_the_same_samples_at_every_step_on_1_2_and_4_ranks(small, tmp_path, on_two_ranks):
    one = small(name="keys-1", data={"record_keys": True}, train={"steps": 24})
    train(one)
    four = small(name="keys-4", data={"record_keys": True}, train={"steps": 24})
    finish(start(four, tmp_path, ranks=4))
    assert keys_by_step(one) == keys_by_step(on_two_ranks) == keys_by_step(four)
    for domain in ("source", "target"):  # 24 steps of 16 are four passes over 96 samples
        for first in range(0, 24, 6):
            seen = [key for step in keys_by_step(one)[first : first + 6] for key in step[domain]]
            assert len(set(seen)) == len(seen) == 96


def test_target_labels_cannot_leak(small, faces, tmp_path, undisturbed):
    shuffled = tmp_path / "shuffled"
    shutil.copytree(faces, shuffled)
    changed = shuffle_target_labels(shuffled)
    assert changed > 50
    config = small(name="leak", data={"shards": str(shuffled)})
    assert train(config) == 0
    assert_same_weights(weights(config), weights(undisturbed))
    oracle = "oracle/target_accuracy"
    assert [row[oracle] for row in rows(config) if oracle in row] != [
        row[oracle] for row in rows(undisturbed) if oracle in row
    ]
    chosen = [
        json.loads((c.run_folder / "summary.json").read_text())["selection/chosen_step"] for c in (config, undisturbed)
    ]
    assert chosen[0] == chosen[1]


def shuffle_target_labels(folder) -> int:
    """Give every sample of the target's train and val shards another label; returns how many were changed."""
    generator = random.Random(0)
    manifest = json.loads((folder / "manifest.json").read_text())
    changed = 0
    for split in ("train", "val"):
        for shard in manifest["domains"]["target"][split]:
            path = folder / shard["path"]
            content = bytearray(path.read_bytes())
            for header in range(0, len(content) - 512, 512):
                name = bytes(content[header : header + 100]).rstrip(b"\0")
                if bytes(content[header + 257 : header + 262]) == b"ustar" and name.endswith(b".cls"):
                    old = content[header + 512]
                    content[header + 512] = generator.choice([c for c in b"0123456" if c != old])
                    changed += 1
            path.write_bytes(content)
    accept_changes(folder)
    return changed


def test_another_configuration_under_the_same_name_is_refused(small, undisturbed):
    other = undisturbed.model_copy(update={"seed": 6})
    with pytest.raises(JobError, match=r"started with another configuration \(seed 5 -> 6\)"):
        train(other)


def test_a_second_job_in_the_same_run_folder_is_refused(small):
    config = small(name="shared")
    config.run_folder.mkdir(parents=True)
    with open(config.run_folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 1 on elsewhere")
        file.flush()
        with pytest.raises(JobError, match="is in use by process 1 on elsewhere: wait for it"):
            train(config)


def test_a_mistake_found_before_the_first_step_is_how_the_run_ended(small):
    config = small(name="mistake", model={"backbone": "resnet19"})
    with pytest.raises(JobError, match="resnet19"):
        train(config)
    status = json.loads((config.run_folder / "status.json").read_text())
    assert (status["status"], status["exit_code"]) == ("failed", 2)
    assert "resnet19" in status["message"]


def at_rate(config, lr: float):
    """With a constant learning rate far beyond what a configuration may hold."""
    optimizer = config.optimizer.model_copy(update={"lr": lr, "schedule": "constant"})
    return config.model_copy(update={"optimizer": optimizer})


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_checkpoint(small):
    config = at_rate(small(name="nan", train={"log_every": 4, "eval_every": 50}), 1e12)
    with pytest.raises(
        JobError, match=r"NaN or infinite at step \d+; the last good checkpoint is none yet; try a lower"
    ):
        train(config)
    assert json.loads((config.run_folder / "status.json").read_text())["exit_code"] == 2
    assert json.loads((config.run_folder / "alerts.jsonl").read_text().splitlines()[-1])["title"].startswith("NaN")


def test_accumulation_gives_the_same_weights(small, undisturbed):
    config = small(name="accumulated", train={"accumulate": 2})
    assert train(config) == 0
    assert_same_weights(weights(config), weights(undisturbed), tolerance=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": {"name": "source_only"}},
        {"objective": {"name": "train_on_target"}},
        {"train": {"precision": "bf16", "steps": 4}},
        {"optimizer": {"name": "adamw", "lr": 1e-3, "schedule": "cosine", "warmup_steps": 2, "clip_norm": 1.0}},
        {"model": {"batch_norm": "mixed", "bottleneck": 32, "dropout": 0.3}, "objective": {"entropy_weight": 0.1}},
        {"objective": {"pseudo_label_weight": 1.0, "pseudo_label_threshold": 0.15}, "train": {"accumulate": 2}},
        {"objective": {"class_weights": "balanced", "label_smoothing": 0.1, "lambda_schedule": "constant"}},
        {
            "data": {"standardize": True, "augment": {"crop": [0.5, 1], "grayscale": 0.3, "blur": 0.3, "erase": 0.5}},
            "objective": {"pseudo_label_weight": 1.0, "pseudo_label_threshold": 0.15},
            "optimizer": {"layer_decay": 0.8},
            "train": {"steps": 6},
        },
    ],
    ids=["source_only", "target", "bf16", "adamw", "norm_dropout_entropy", "pseudo", "weighted", "augmented"],
)
def test_every_way_to_train_resumes_exactly(small, changes):
    whole = small(name="whole", **changes)
    assert train(whole) == 0
    parts = small(name="parts", **changes)
    parts.run_folder.mkdir(parents=True)
    (parts.run_folder / "stop").touch()
    assert train(parts) == EXIT_STOPPED
    assert train(parts) == 0
    assert_same_weights(weights(parts), weights(whole))


@pytest.mark.slow
@needs_compiler
def test_compiled_training_ends_where_eager_training_ends(small, plain_compiler):
    eager = small(name="eager", train={"steps": 4})
    compiled = small(name="compiled", train={"steps": 4}, model={"compile": True})
    assert train(eager) == train(compiled) == 0
    assert_same_weights(weights(compiled), weights(eager), tolerance=1e-5)


def test_source_only_sees_no_target_image(small):
    """BatchNorm's statistics included: with other target images the weights are the same."""
    settings = {"objective": {"name": "source_only"}, "model": {"batch_norm": "mixed"}, "train": {"steps": 6}}
    usual, other = (
        small(name="usual", **settings),
        small(name="other", **merge(settings, {"data": {"target": "source"}})),
    )
    assert train(usual) == train(other) == 0
    assert_same_weights(weights(usual), weights(other))
    assert "train/domain_loss" not in set().union(*rows(usual))


@pytest.mark.slow
def test_a_full_disk_at_a_checkpoint_loses_nothing(small, tmp_path, undisturbed):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system to fill up needs root")
    try:
        config = small(name="full", output=str(disk))
        config.run_folder.mkdir(parents=True)
        (config.run_folder / "stop").touch()
        assert train(config) == EXIT_STOPPED
        with open(disk / "filler", "wb") as file:
            file.write(bytes(shutil.disk_usage(disk).free - 64 * 1024))
        with pytest.raises(JobError, match="No space left on device; the last good one is step_00000001; free space"):
            train(config)
        assert "checkpoint cannot be written" in (config.run_folder / "log.txt").read_text()  # the alert
        (disk / "filler").unlink()
        assert train(config) == 0
        assert_same_weights(weights(config), weights(undisturbed))
        assert [row["trainer/step"] for row in rows(config)] == list(range(1, 25))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)  # the log may still be open


# what a kill, a full disk, or a divergence leaves -------------------------------------------------------------------


def again(config, tmp_path):
    """A copy of a finished run under another output, and its configuration."""
    other = config.model_copy(update={"output": str(tmp_path / "again")})
    shutil.copytree(config.run_folder, other.run_folder, symlinks=True)
    return other


def test_a_kill_before_best_has_moved_does_not_change_what_is_chosen(undisturbed, tmp_path):
    config = again(undisturbed, tmp_path)
    checkpoints = config.run_folder / "checkpoints"
    chosen = (checkpoints / "best").resolve().name
    (checkpoints / "best").unlink()
    (checkpoints / "best").symlink_to("step_00000001")
    assert train(config) == 0
    assert (checkpoints / "best").resolve().name == chosen
    summaries = [json.loads((c.run_folder / "summary.json").read_text()) for c in (config, undisturbed)]
    assert summaries[0] == summaries[1]


def stop_at(monkeypatch, method: str, after: bool, calls: int = 1):
    """Ask this process to stop when a method of the Evaluator is called for the `calls`-th time, or has returned."""
    original = getattr(Evaluator, method)
    left = [calls]

    def asking(self, *args, **kwargs):
        left[0] -= 1
        if left[0] == 0 and not after:
            os.kill(os.getpid(), signal.SIGTERM)
        result = original(self, *args, **kwargs)
        if left[0] == 0 and after:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(Evaluator, method, asking)


def test_without_the_best_checkpoint_the_selection_starts_again(small, undisturbed, monkeypatch):
    config = small(name="gone", train={"checkpoint_every": 9, "eval_every": 9, "steps": 24})
    with monkeypatch.context() as patched:
        stop_at(patched, "validate", after=True)
        assert train(config) == EXIT_STOPPED
    best = (config.run_folder / "checkpoints" / "best").resolve()
    assert best.name == "step_00000009"
    with monkeypatch.context() as patched:
        stop_at(patched, "_normalise", after=False)  # in the middle of the next evaluation
        assert train(config) == EXIT_STOPPED
    (best / "model.safetensors").write_bytes(b"damaged")
    assert train(config) == 0
    assert (config.run_folder / "checkpoints" / "best").resolve().name in ("step_00000018", "step_00000024")
    assert_same_weights(weights(config), weights(undisturbed))


@pytest.mark.parametrize("call", [1, 4])
def test_a_stop_during_an_evaluation_takes_effect_and_the_evaluation_is_repeated(small, undisturbed, monkeypatch, call):
    config = small(name="evaluating", evaluation={"batch_size": 8})
    with monkeypatch.context() as patched:
        stop_at(patched, "_normalise", after=False, calls=call)
        assert train(config) == EXIT_STOPPED
    assert [row["trainer/step"] for row in rows(config)] == list(range(1, 8)), "step 8 is not logged half"
    meta = json.loads((config.run_folder / "checkpoints" / "latest" / "meta.json").read_text())
    assert (meta["step"], meta["evaluation_pending"]) == (8, True)
    assert train(config) == 0
    assert_same_weights(weights(config), weights(undisturbed))
    logged = [{key: row[key] for key in row if not key.startswith("speed/")} for row in rows(config)]
    expected = [{key: row[key] for key in row if not key.startswith("speed/")} for row in rows(undisturbed)]
    assert [set(row) for row in logged] == [set(row) for row in expected]
    for row, other in zip(logged, expected, strict=True):  # evaluated in batches of another size: other rounding
        assert row == pytest.approx(other, rel=1e-3, abs=1e-6)
    summaries = [json.loads((c.run_folder / "summary.json").read_text()) for c in (config, undisturbed)]
    assert summaries[0]["selection/chosen_step"] == summaries[1]["selection/chosen_step"]


def test_a_stop_at_the_end_of_an_evaluation_takes_effect_at_once(small, monkeypatch):
    config = small(name="evaluated")
    stop_at(monkeypatch, "validate", after=True)
    assert train(config) == EXIT_STOPPED
    meta = json.loads((config.run_folder / "checkpoints" / "latest" / "meta.json").read_text())
    assert (meta["step"], meta["evaluation_pending"]) == (8, False)
    assert "val/source_accuracy" in rows(config)[-1]


def test_a_stop_during_the_last_test_leaves_a_run_that_only_evaluates_once_more(small, undisturbed, monkeypatch):
    config = small(name="testing", train={"eval_every": 24}, evaluation={"batch_size": 8})
    with monkeypatch.context() as patched:
        stop_at(patched, "test", after=False)
        assert train(config) == EXIT_STOPPED
    assert not (config.run_folder / "summary.json").exists()
    assert train(config) == 0
    assert (config.run_folder / "summary.json").exists()
    assert_same_weights(weights(config), weights(undisturbed))


def test_another_score_under_the_same_name_is_refused(undisturbed):
    """The best score so far could not be compared with the next."""
    other = undisturbed.model_copy(update={"selection": type(undisturbed.selection)(score="source_accuracy")})
    with pytest.raises(JobError, match=r"selection\.score infomax -> source_accuracy"):
        train(other)


def test_no_checkpoint_holds_weights_that_are_not_finite(small):
    """The loss of a step belongs to the weights before it."""
    every = {"log_every": 1, "eval_every": 1, "checkpoint_every": 1}
    config = at_rate(small(name="diverges", train=every), 1e30)
    with pytest.raises(JobError, match=r"NaN or infinite at step \d+; the last good checkpoint is"):
        train(config)
    for path in (config.run_folder / "checkpoints").glob("step_*"):
        assert all(value.isfinite().all() for value in weights(config, path.name).values())


def test_features_that_are_not_finite_stop_the_run_with_advice(small, monkeypatch):
    from job.evaluation import a_distance

    monkeypatch.setattr(a_distance, "probe_error", lambda *_: float("nan"))
    with pytest.raises(JobError, match=r"NaN or infinite at step 8; .* try a lower optimizer\.lr"):
        train(small(name="overflow"))


def test_a_full_disk_at_an_evaluation_does_not_end_the_training(small, monkeypatch):
    from job.evaluation import ensemble, report_files

    write = report_files.write_atomically

    def full(path, content, **options):
        if path.parent.name == "evaluation":
            raise OSError(28, "No space left on device", str(path))
        write(path, content, **options)

    for writer in (ensemble, report_files):
        monkeypatch.setattr(writer, "write_atomically", full)
    config = small(name="no-reports", train={"steps": 8})
    assert train(config) == 0
    for file in ("step_00000008.json", "step_00000008_target.npz"):
        assert f"evaluation/{file}: [Errno 28] No space" in (config.run_folder / "log.txt").read_text()


def test_a_disk_error_on_the_main_rank_is_raised_on_every_rank(small, monkeypatch):
    from job.run_folder import run_folder

    point = run_folder.point

    def full(folder, name, target):
        if name == "best":
            raise OSError(28, "No space left on device", f"{folder}/{name}")
        point(folder, name, target)

    monkeypatch.setattr(run_folder, "point", full)
    config = small(name="no-link")
    with pytest.raises(JobError, match=r"cannot write .*checkpoints/best \(No space left on device\): make room"):
        train(config)
    assert json.loads((config.run_folder / "status.json").read_text())["exit_code"] == 2


@pytest.mark.slow
def test_a_run_resumes_without_the_file_of_its_pretrained_weights(small, tmp_path):
    import torch
    import torchvision

    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    model = {"backbone": "resnet18", "weights": str(path), "batch_norm": "mixed"}
    whole = small(name="whole", model=model, train={"steps": 2})
    parts = small(name="parts", model=model, train={"steps": 2})
    parts.run_folder.mkdir(parents=True)
    (parts.run_folder / "stop").touch()
    assert train(whole) == 0
    assert train(parts) == EXIT_STOPPED
    path.unlink()
    assert train(parts) == 0
    assert_same_weights(weights(parts), weights(whole))


def test_the_speed_counts_the_wait_for_the_device(small, monkeypatch):
    from job.training.meter import Meter

    first_bad_step = Meter.first_bad_step

    def slow(self, *arguments):
        time.sleep(0.2)
        return first_bad_step(self, *arguments)

    monkeypatch.setattr(Meter, "first_bad_step", slow)
    config = small(name="slow", train={"steps": 3})
    assert train(config) == 0
    assert all(row["speed/images_per_second"] <= 32 / 0.2 for row in rows(config))
    assert all(row["speed/step_p50_ms"] >= 200 for row in rows(config))


@pytest.mark.slow
def test_skipped_images_are_counted_over_a_stop(small, faces, tmp_path):
    broken = shutil.copytree(faces, tmp_path / "broken")
    for path in sorted((broken / "source" / "train").glob("*.tar")):
        content = bytearray(path.read_bytes())
        image = content.index(b"\xff\xd8\xff")
        content[image : image + 400] = bytes(400)
        path.write_bytes(content)
    accept_changes(broken)
    data = {"shards": str(broken), "on_bad_image": "skip"}
    whole, parts = small(name="whole", data=data), small(name="parts", data=data)
    assert train(whole) == 0
    for _ in range(4):
        parts.run_folder.mkdir(parents=True, exist_ok=True)
        (parts.run_folder / "stop").touch()
        assert train(parts) == EXIT_STOPPED
    assert train(parts) == 0
    counts = [json.loads((c.run_folder / "summary.json").read_text())["data/skipped_samples"] for c in (whole, parts)]
    assert counts[0] == counts[1] >= 24


def test_a_damaged_checkpoint_is_reported_and_the_run_does_not_start_over(undisturbed, tmp_path):
    config = again(undisturbed, tmp_path)
    checkpoints = config.run_folder / "checkpoints"
    newest = (checkpoints / "latest").resolve()
    (newest / "trainer.pt").write_bytes(b"cut short")
    assert train(config) == 0
    log = (config.run_folder / "log.txt").read_text()
    assert f"{newest.name} is damaged: trainer.pt should be" in log
    assert "resuming from step" in log
    assert_same_weights(weights(config), weights(undisturbed))
    for path in checkpoints.glob("step_*"):
        (path / "trainer.pt").write_bytes(b"cut short")
    with pytest.raises(
        JobError, match=r"no checkpoint of .* is intact \(.* is damaged: .*choose another `name`, or delete"
    ):
        train(config)


def test_a_class_without_examples_raises_an_alert(small, monkeypatch):
    config = small(name="lacking", train={"steps": 2, "eval_every": 2})
    monkeypatch.setattr(Manifest, "class_counts", lambda self, domain, split: (20, 20, 16, 0, 20, 20, 0))
    assert train(config) == 0
    alerts = [json.loads(line) for line in (config.run_folder / "alerts.jsonl").read_text().splitlines()]
    (alert,) = [alert for alert in alerts if alert["title"] == "class without examples"]
    assert "no labelled image of surprise, disgust" in alert["text"]
    assert "--option classes=folders" in alert["text"]
