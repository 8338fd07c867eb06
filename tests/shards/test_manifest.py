"""A folder of shards that is not whole is said to be so, and where."""

import json

import pytest

from job.shards.manifest import load_manifest
from job.system.errors import JobError


def fails(place, says, **settings):
    with pytest.raises(JobError, match=says) as caught:
        load_manifest(place, **settings)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path):
    fails(tmp_path / "nowhere", r"no shards at .*nowhere: write them")


def test_no_manifest(shards):
    (shards / "manifest.json").unlink()
    fails(shards, r"has no manifest\.json, so it is unfinished: run the shards command again")


def _counts(change):
    """A change of the class counts of the first shard."""

    def changed(text):
        held = json.loads(text)
        shard = held["domains"]["source"]["train"][0]
        shard["class_counts"] = change(shard["class_counts"])
        return json.dumps(held)

    return changed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda held: "{" + held, "is not JSON"),
        (lambda held: held.replace('"version": 1', '"version": 2'), "has version 2, this program reads version 1"),
        (lambda held: held.replace('"samples"', '"sampels"', 1), r"domains\.source\.train\.0\.samp"),
        (lambda held: held.replace('"samples": 5', '"samples": "five"', 1), r"domains\.source\.train\.0\.samples"),
        (lambda held: "[]", "has version None"),
        (
            _counts(lambda counts: [counts[0] + 1, *counts[1:]]),
            r"source-train-000000\.tar has 5 samples of 3 classes, ",
        ),
        (_counts(lambda counts: counts[:2]), "which the class_counts .* do not fit; delete it"),
        (_counts(lambda counts: [-1, *counts[1:]]), r"domains\.source\.train\.0\.class_counts\.0: "),
        (_counts(lambda counts: ["many"]), r"domains\.source\.train\.0\.class_counts\.0: "),
    ],
)
def test_a_manifest_that_cannot_be_read(shards, change, says):
    path = shards / "manifest.json"
    path.write_text(change(path.read_text()))
    fails(shards, says)


def test_a_shard_that_is_missing_or_of_another_size(shards):
    path = shards / "target/train/target-train-000003.tar"
    path.write_bytes(path.read_bytes()[:-512])
    fails(shards, r"target-train-000003\.tar has \d+ bytes but the manifest says \d+")
    path.unlink()
    fails(shards, r"target-train-000003\.tar is missing")
    load_manifest(shards, check_files=False)


def test_the_manifest_may_be_named_itself_and_be_remote(shards):
    held = load_manifest(shards)
    assert load_manifest(shards / "manifest.json") == held
    assert load_manifest(shards.as_uri()) == held
    fails((shards / "gone").as_uri(), "cannot read file:.*/gone/manifest.json")


def test_pipes_run_nothing_unless_allowed(shards):
    fails(f"pipe:cat {shards}", "would run a shell command: if you trust it, allow it with data.allow_pipe=true")
    assert load_manifest(f"pipe:cat {shards}", allow_pipe=True) == load_manifest(shards)


def test_the_hash_follows_what_training_sees(shards):
    held = load_manifest(shards)
    assert held.hash == load_manifest(shards).hash
    path = shards / "manifest.json"
    content = json.loads(path.read_text())
    content["seed"] = 99
    path.write_text(json.dumps(content))
    assert load_manifest(shards).hash == held.hash
    content["domains"]["source"]["train"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    assert load_manifest(shards).hash != held.hash


def test_an_unknown_split_names_those_there_are(made):
    with pytest.raises(JobError, match=r"hold no source/tset, only source/train, source/val"):
        load_manifest(made).shards("source", "tset")
