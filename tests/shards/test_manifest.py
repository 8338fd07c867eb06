"""An incomplete folder of shards is reported, with the place of the fault."""

import json
import os

import pytest

from job.shards import manifest as module
from job.shards.manifest import load_manifest
from job.system.errors import JobError


def fails(place, says, **settings):
    with pytest.raises(JobError, match=says) as caught:
        load_manifest(place, **settings)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path):
    fails(tmp_path / "nowhere", r"no shards at .*nowhere: write them with the command in the first lines of the recipe")


def test_a_part_of_shards(shards, tmp_path):
    for part in ("source", "target/train", next(shards.glob("source/train/*.tar")).relative_to(shards)):
        fails(shards / part, f"^{shards / part} is a part of the shards at {shards}: give {shards}$")
    (tmp_path / "other" / "a").mkdir(parents=True)
    fails(tmp_path / "other", "contains no shards")


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
            r"source-train-000000\.tar: 5 samples of 3 classes, ",
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
    with pytest.raises(JobError, match=r"contain no source/tset, only source/train, source/val"):
        load_manifest(made).shards("source", "tset")


def broken(shards, change):
    """The manifest after `change(content, first shard)`, and whatever that returned in its place."""
    path = shards / "manifest.json"
    content = json.loads(path.read_text())
    info = content["domains"]["source"]["train"][0]
    text = change(content, info)
    path.write_text(text if isinstance(text, str) else json.dumps(content))


def put(where, **values):
    where.update(values)


def written(held, **values):
    """The manifest as text, with JSON in place of some values."""
    return json.dumps(held | dict.fromkeys(values, "HERE")).replace('"HERE"', *values.values())


HUGE = "9" * 5000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda held, info: put(info, samples=10**18), r"bytes cannot hold 1000000000000000000 samples"),
        (lambda held, info: put(info, samples=0), r"domains\.source\.train\.0\.samples: .*greater than 0"),
        (lambda held, info: put(info, samples=-5), r"domains\.source\.train\.0\.samples: .*greater than 0"),
        (lambda held, info: put(info, bytes=10**18), r"0\.bytes: .*less than or equal to 1099511627776"),
        (lambda held, info: put(info, bytes=float("nan")), r"0\.bytes"),
        (lambda held, info: put(info, sha256="x"), r"0\.sha256: .*pattern"),
        (lambda held, info: put(info, sha256="0" * 63 + "\n"), r"0\.sha256: .*pattern"),
        (lambda held, info: put(held, size=10**9), r"size: .*less than or equal to 8192"),
        (lambda held, info: put(held, size=-1), r"size: .*greater than 0"),
        (lambda held, info: put(held, seed=10**300), r"seed: "),
        (lambda held, info: written(held, seed=HUGE), r"manifest\.json: Invalid JSON: number out of range"),
        (lambda held, info: written(held, size=HUGE), r"manifest\.json: Invalid JSON: number out of range"),
        (
            lambda held, info: written(held, version=HUGE),
            r"has version '9+\.\.\.9+' \(5,002 characters\)",
        ),
        (lambda held, info: "[" * 100_000, "is not JSON"),
        (lambda held, info: "[" * 100_000 + "]" * 100_000, r"is not JSON \(it is nested too deeply\)"),
        (
            lambda held, info: written(held, version="[" * 150 + "]" * 150),
            r"version \[+\.\.\.\]+ \(300 ch",
        ),
        (lambda held, info: written(held, options='{"a":' * 5000 + "1" + "}" * 5000), r"nested too deeply"),
        (lambda held, info: put(held, class_names=[]), r"class_names: "),
        (lambda held, info: put(held, class_names=["red", "green", "red"]), r"class_names: red is named twice"),
        (lambda held, info: put(held, class_names=["red", "green", ""]), r"class_names\.2: "),
        (lambda held, info: put(held, domains={"": {}}), r"domains\.\.\[key\]: "),
        (lambda held, info: put(held, left_out={"empty": -1}), r"left_out\.empty: "),
        (lambda held, info: put(info, path="a\0.tar"), r"a path with control characters"),
        (lambda held, info: put(info, path="a\n.tar"), r"a path with control characters"),
        (lambda held, info: put(info, path="../../etc/passwd"), r"'\.\./\.\./etc/passwd' must be a path below"),
        (lambda held, info: put(info, path="source/../../x.tar"), r"must be a path below the manifest's folder"),
        (lambda held, info: put(info, path="/etc/passwd"), r"'/etc/passwd' must be a path below"),
        (lambda held, info: put(info, path=""), r"must be a path below"),
        (lambda held, info: put(info, path="a/"), r"must be a path below"),
        (lambda held, info: put(info, path="."), r"must be a path below"),
        (lambda held, info: put(info, path="..\\x.tar"), r"must be a path below"),
        (lambda held, info: put(info, path="p" * 10**6), r"0\.path: .*at most 1000 characters"),
        (
            lambda held, info: put(info, path=held["domains"]["target"]["test"][0]["path"]),
            r"domains: target/test/target-test-000000\.tar is named twice",
        ),
        (
            lambda held, info: put(info, class_counts=[2, 2]),
            r"5 samples of 3 classes, which the class_counts",
        ),
        (lambda held, info: put(info, class_counts=[9, -5, 1]), r"class_counts\.1: "),
        (
            lambda held, info: put(info, class_counts=[2, 2, 2]),
            r"5 samples of 3 classes, which the class_counts",
        ),
        (lambda held, info: put(info, class_counts=None), r"it is labelled but has no class_counts"),
        (lambda held, info: put(info, labelled=False), r"it has class_counts but is not labelled"),
        (lambda held, info: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "is not JSON"),
        (lambda held, info: "", "is not JSON"),
    ],
)
@pytest.mark.parametrize("remote", [False, True])
def test_extreme_values_are_refused_in_one_line(shards, change, says, remote):
    broken(shards, change)
    fails(shards.as_uri() if remote else shards, says)


def test_bytes_that_are_not_text_are_refused(shards):
    (shards / "manifest.json").write_bytes(b"\xff\xfe\0")
    fails(shards, r"manifest\.json is not JSON")


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device"])
def test_a_manifest_that_is_not_a_file_is_refused_at_once(shards, kind):
    path = shards / "manifest.json"
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    fails(shards, rf"cannot read .*manifest\.json: it is a {kind}, not a file")
    fails(shards.as_uri(), rf"it is a {kind}, not a file")


def test_a_manifest_without_end_is_refused(shards, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    fails(shards, r"cannot read .*: it is larger than 1000 bytes")
    fails(shards.as_uri(), r"it is larger than the 1000 bytes")
