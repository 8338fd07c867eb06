"""Odd files in real folders are read, or skipped with a reason; none hangs or crashes the command."""

import csv
import errno
import functools
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from job.datasets.image_search import Notes, walk
from job.shards.manifest import load_manifest
from job.shards.writing import convert
from job.shards.writing import left_out as lists
from job.shards.writing.crop import CropSettings
from job.shards.writing.read_picture import UnreadableError, read_picture
from job.shards.writing.write_shards import write_shards
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build, contents, samples


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Return a tree of folders with every odd file in both domains; tests must not write to it."""
    root = tmp_path_factory.mktemp("odd") / "set"
    trees.folders(root, each=6)
    for domain in ("Male", "Female"):
        trees.odd_but_good(root / domain / "Joy")
        trees.odd_and_bad(root / domain / "Anger")
    (root / "Male" / "Thumbs.db").write_bytes(b"no image by its name")
    (root / "Male" / "Joy" / "._UPPER.JPG").write_bytes(b"what macOS leaves behind")
    return root


def skipped(out):
    with open(out / "skipped.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def test_the_good_are_read_and_the_bad_are_listed(odd, tmp_path):
    manifest = build("folders", odd, tmp_path / "out", max_skipped="20%")
    read = samples(tmp_path / "out")
    names = {s["source"] for s in read}
    good = [path for path in (odd / "Male/Joy").iterdir() if not path.name.startswith("._")]
    assert {f"Male/Joy/{path.name}" for path in good} <= names
    listed = skipped(tmp_path / "out")
    bad = trees.odd_and_bad(tmp_path / "only for the names")
    assert listed.keys() == {f"{d}/Anger/{name}" for d in ("Male", "Female") for name in bad}
    for name, reason in bad.items():
        reason_listed = listed[f"Male/Anger/{name}"]
        assert reason_listed
        assert any(part in reason_listed for part in reason.split("|")), (name, reason_listed)
    hidden = {"hidden files and files of tools": 2}  # Thumbs.db, ._UPPER.JPG
    assert manifest.left_out == {"unreadable": 2 * len(bad), "unknown domain": 1, **hidden}
    colourless = ("grey", "sixteen", "print", "palette")
    for sample in read:
        if "Joy" in sample["source"] and not any(word in sample["source"] for word in colourless):
            top, bottom = sample["image"][:7].mean((0, 1)), sample["image"][9:].mean((0, 1))
            assert top[0] > top[2], f"{sample['source']} does not stand upright"
            assert bottom[2] > bottom[0], sample["source"]


def test_the_budget(odd, tmp_path):
    with pytest.raises(JobError, match=r"16 of \d+ images cannot be read, more than --max-skipped 1%: .*skipped\.csv"):
        build("folders", odd, tmp_path / "out")
    assert len(skipped(tmp_path / "out")) == 16
    assert not (tmp_path / "out/manifest.json").exists()
    with pytest.raises(JobError, match="more than --max-skipped 15"):
        build("folders", odd, tmp_path / "out", max_skipped="15")
    build("folders", odd, tmp_path / "out", max_skipped="16")
    for text in ("some", "-1", "101%", "", "0.5"):
        with pytest.raises(JobError, match="--max-skipped"):
            build("folders", odd, tmp_path / "out", max_skipped=text)


def test_files_without_read_permission_are_skipped(tmp_path):
    """Run as a user without rights, because root could read the files."""
    folder = Path(tempfile.mkdtemp())  # only the owner may enter pytest's folder
    try:
        root = trees.folders(folder / "set", each=6)
        (root / "Male/joy/3.jpg").chmod(0)
        (root / "Female/fear").chmod(0)
        folder.chmod(0o777)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            build("folders", root, folder / "out", max_skipped="5%")
        finally:
            os.seteuid(user)
        denied = {"Male/joy/3.jpg": "Permission denied", "Female/fear": "folder: Permission denied"}
        assert skipped(folder / "out") == denied
    finally:
        (folder / "set/Female/fear").chmod(0o700)
        shutil.rmtree(folder)


def test_a_loop_of_links_ends(tmp_path):
    for name in ("a", "b", "c"):
        trees.put(tmp_path / "set" / name / "x.jpg", ord(name))
    for name in ("a", "b", "c"):
        for other in ("a", "b", "c"):
            (tmp_path / "set" / name / f"to {other}").symlink_to(f"../{other}")
    found = [origin for _, origin in walk(tmp_path / "set", Notes())]
    assert len(found) == 3, "each folder is entered once"


def test_a_folder_that_is_a_link_is_followed(tmp_path):
    trees.folders(tmp_path / "disk")
    (tmp_path / "set").mkdir()
    for name in ("Male", "Female"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "disk" / name)
    build("folders", tmp_path / "set", tmp_path / "out")
    assert len(samples(tmp_path / "out")) == 84


def test_names_that_are_not_utf_8(tmp_path):
    root = trees.folders(tmp_path / "set")
    try:
        shutil.copy(trees.put(tmp_path / "x.jpg", 77), os.fsencode(root / "Male/joy") + b"/caf\xe9.jpg")
    except OSError:
        pytest.skip("the file system wants UTF-8")
    build("folders", root, tmp_path / "out")
    assert any("caf" in s["source"] for s in samples(tmp_path / "out"))


def damaged_within(path: Path) -> None:
    """Return a JPEG with a valid header and end, and a damaged middle."""
    whole = bytearray(path.read_bytes())
    start = whole.index(b"\xff\xda") + 20
    whole[start : start + 200] = b"\xff\xd9" * 100
    path.write_bytes(whole)


def test_damage_that_only_decoding_shows_is_skipped_too(tmp_path):
    root = trees.folders(tmp_path / "set", each=10)
    damaged_within(root / "Male/joy/4.jpg")
    manifest = build("folders", root, tmp_path / "out")
    assert list(skipped(tmp_path / "out")) == ["Male/joy/4.jpg"]
    assert manifest.left_out == {"unreadable": 1}
    assert len(samples(tmp_path / "out")) == 139
    assert build("folders", root, tmp_path / "out") == manifest, "finished is finished"
    with pytest.raises(JobError, match="1 of 140 images cannot be read"):
        build("folders", root, tmp_path / "none", max_skipped="0")


def test_shards_are_of_equal_size_with_damage_too(tmp_path):
    root = trees.folders(tmp_path / "set", each=10)
    for i in range(5):
        damaged_within(root / f"Male/joy/{i}.jpg")
    manifest = build("folders", root, tmp_path / "out", shards=9, max_skipped="5%")
    sizes = [info.samples for info in manifest.shards("source", "train")]
    assert max(sizes) - min(sizes) <= 1
    assert sum(manifest.samples("source", split) for split in ("train", "val", "test")) == 65
    assert build("folders", root, tmp_path / "out", shards=9, max_skipped="5%") == manifest
    with pytest.raises(JobError, match="already contains other shards"):
        build("folders", root, tmp_path / "out", shards=5, max_skipped="5%")


def test_a_changed_image_is_another_input(tmp_path):
    root = trees.folders(tmp_path / "set")
    build("folders", root, tmp_path / "out")
    trees.put(root / "Male/joy/1.jpg", 999)
    with pytest.raises(JobError, match="made from other images"):
        build("folders", root, tmp_path / "out")


# Other files, and images under other names --------------------------------------------------------------------------


TOOLS = [".Trash-1000", ".thumbnails", ".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "lost+found", "$RECYCLE.BIN"]
TOOLS += ["System Volume Information", "#recycle", ".snapshot", ".AppleDouble", "__pycache__", "@Recycle"]


def test_hidden_folders_and_those_of_tools_are_not_entered_but_counted(tmp_path):
    root = trees.folders(tmp_path / "set", each=3)
    clean = build("folders", root, tmp_path / "clean")
    for number, name in enumerate(TOOLS):
        trees.put(root / "Male/joy" / name / "x.jpg", 1000 + number)
        trees.put(root / name / "Female/joy/x.jpg", 2000 + number)
    for number, name in enumerate((".x.jpg", "._0.jpg", ".trashed-1-x.jpg", "Thumbs.db", ".DS_Store", "desktop.ini")):
        trees.put(root / "Female/fear" / name, 3000 + number, format="JPEG")
    manifest = build("folders", root, tmp_path / "out")
    wanted = {f"folder {name} (hidden, or of a tool)": 2 for name in TOOLS} | {"hidden files and files of tools": 6}
    assert manifest.left_out == wanted
    assert manifest.hash == clean.hash


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *(("x.jfif", "JPEG"), ("x.JPE", "JPEG"), ("x.pjpeg", "JPEG"), ("x.avif", "AVIF"), ("x.apng", "PNG")),
        *(("x.jp2", "JPEG2000"), ("x.tga", "TGA"), ("x.qoi", "QOI"), ("x.pcx", "PCX"), ("x.dib", "DIB")),
        *((f"x{n}", format) for n, format in enumerate(("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM"))),
        *(("KA.AN1.39", "TIFF"), ("2024.01.31", "JPEG2000"), ("person 4.7", "QOI")),
    ],
)
def test_images_are_read_with_any_ending_and_without(tmp_path, name, format):
    path = tmp_path / "set" / name
    path.parent.mkdir()
    trees.picture(7).save(path, format)
    assert [origin for _, origin in walk(path.parent, Notes())] == [name]
    shown = read_picture(path.read_bytes())
    assert shown.shape == (32, 40, 3)
    assert np.abs(shown.astype(int) - np.asarray(trees.picture(7).convert("RGB"))).mean() < 12


def test_other_files_are_counted_by_their_ending(tmp_path):
    names = [
        "a.heic",
        "b.HEIC",
        "c.svg",
        "d.hdr",
        "notes.txt",
        "README",
        "BMW",
        "P1 is a name",
        "e.verylongending",
        "f.é",
    ]
    names += ["GIF89", "5.5", "Makefile"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 9)
    notes = Notes()
    assert not list(walk(tmp_path, notes))
    assert notes.left_out == {
        "files ending in .heic": 2,
        "files ending in .svg": 1,
        "files ending in .hdr": 1,
        "files ending in .txt": 1,
        "files with other endings": 2,
        "files without an ending that hold no image": 6,
    }
    assert not notes.skipped


def test_unreadable_files_without_an_ending_are_skipped(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    notes = Notes()
    assert not list(walk(tmp_path, notes))
    assert dict(notes.skipped).keys() == {"nowhere", "loop"}
    assert notes.left_out == {"files without an ending that hold no image": 1}


def test_a_name_with_a_line_break_stays_on_one_line(tmp_path):
    (tmp_path / "a\nb\x1b[31m.jpg").symlink_to("nowhere")
    notes = Notes()
    assert not list(walk(tmp_path, notes))
    assert notes.skipped == [("a/x0ab/x1b[31m.jpg", "a broken link")]


def test_postscript_does_not_start_ghostscript(tmp_path, monkeypatch):
    def run(*given, **settings):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "check_call", run)
    trees.picture(1).save(tmp_path / "x.eps")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.eps").read_bytes())
    with pytest.raises(UnreadableError, match="not an image of a known format"):
        read_picture((tmp_path / "x.jpg").read_bytes())


# The same bytes ---------------------------------------------------------------------------------------------------


def test_any_number_of_workers_writes_the_same_bytes(odd, tmp_path):
    for workers in (1, 3):
        build("folders", odd, tmp_path / str(workers), workers=workers, max_skipped="20%")
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_the_path_of_the_data_set_does_not_matter(odd, tmp_path):
    shutil.copytree(odd, tmp_path / "moved", symlinks=True, ignore=shutil.ignore_patterns("pipe.jpg"))
    for domain in ("Male", "Female"):
        os.mkfifo(tmp_path / "moved" / domain / "Anger" / "pipe.jpg")
    for name, root in (("a", odd), ("b", tmp_path / "moved")):
        build("folders", root, tmp_path / name, max_skipped="20%")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.slow
def test_killed_at_random_moments_and_run_again_gives_the_same_bytes(tmp_path):
    root = trees.folders(tmp_path / "set", each=60)
    damaged_within(root / "Male/joy/7.jpg")
    build("folders", root, tmp_path / "whole", shards=40, size=64)
    whole = contents(tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "job", "shards", "folders", "--root", root, "--out", out, "--size", "64"]
    command += ["--shards", "40", "--workers", "2", "--keep-target-labels"]
    rng, kills, more = np.random.default_rng(), 0, 1
    for _ in range(40):
        process = subprocess.Popen(command, start_new_session=True)
        written = len(glob.glob(f"{out}/*/*/*.tar"))
        while process.poll() is None and len(glob.glob(f"{out}/*/*/*.tar")) < written + more:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02 if more else 2))  # also during conversion
        if process.poll() is not None:
            if kills:
                break
            shutil.rmtree(out)  # too fast: from the beginning
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        if kills == 12:
            break
        more = int(rng.integers(0, 12))
    subprocess.run(command, check=True)  # a finished folder is not changed
    assert kills
    assert contents(out) == whole


def test_converted_images_survive_a_kill_and_are_redone_after_a_change(tmp_path, monkeypatch):
    done = []
    encode = convert.encode
    monkeypatch.setattr(convert, "encode", lambda *given: done.append(given) or encode(*given))
    places = [str(trees.put(tmp_path / f"{i}.jpg", i)) for i in range(5)]
    settings = {"cropping": CropSettings("none"), "gray": False, "scratch": tmp_path}
    again = functools.partial(convert.convert_chunk, 0, places, **settings)
    first = again(size=16, quality=95)
    assert again(size=16, quality=95) == first
    assert len(done) == 5
    trees.put(tmp_path / "3.jpg", 99)
    os.utime(tmp_path / "3.jpg", (time.time(), time.time() + 10))
    changed = again(size=16, quality=95)
    assert len(done) == 10
    assert [one == other for one, other in zip(first[1].digests, changed[1].digests)] == [True, True, True, False, True]
    again(size=24, quality=95)
    assert len(done) == 15, "another size is another picture"
    jpegs = next(tmp_path.glob("*.jpegs"))
    whole = jpegs.read_bytes()
    for damaged in (whole[:-1], whole[1:], whole[:3], b"", bytes(len(whole)), whole[:200] + bytes(9) + whole[209:]):
        jpegs.write_bytes(damaged)
        done.clear()
        again(size=24, quality=95)
        assert len(done) == 5, "a file that was cut, or that a power cut left with holes, is not taken"
        assert jpegs.read_bytes() == whole


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    root = trees.folders(tmp_path / "set")
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(JobError, match=r"cannot write .*No space left on device.*finished images are kept"):
            build("folders", root, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.partial"))
    build("folders", root, tmp_path / "out")


@pytest.mark.parametrize("name", ["skipped.csv", "duplicates.csv", "no_face.csv", "manifest.json"])
def test_a_disk_that_fills_at_the_very_end_is_one_line_too(tmp_path, monkeypatch, name):
    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    root = trees.folders(tmp_path / "set", each=3)
    crop = "face" if name == "no_face.csv" else "center"
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(
            JobError, match=rf"cannot write .*{name} \(No space left on device\): make room .* again"
        ) as caught:
            build("folders", root, tmp_path / "out", crop=crop)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*.partial"))
    build("folders", root, tmp_path / "out", crop=crop)


def test_a_full_disk_while_too_many_are_skipped_is_one_line(odd, tmp_path, monkeypatch):
    def full(*given, durable):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lists, "write_atomically", full)
    with pytest.raises(JobError, match=r"cannot write .*skipped\.csv \(No space left on device\)"):
        build("folders", odd, tmp_path / "out")


def test_every_file_is_opened_once(tmp_path, monkeypatch):
    """On the disks of a cluster, opening a small file takes longer than decoding it."""
    root = trees.folders(tmp_path / "set", each=6)
    opens = Counter()
    open_ = os.open
    monkeypatch.setattr(os, "open", lambda path, *given: opens.update([str(path)]) or open_(path, *given))
    build("folders", root, tmp_path / "out")
    pictures = [str(path) for path in root.rglob("*.jpg")]
    assert {opens[path] for path in pictures} == {1}


@pytest.mark.slow
def test_images_are_not_kept_in_memory(tmp_path):
    """Convert 60 images of 12 MB each (decoded) in a process whose peak memory is measured."""
    root = tmp_path / "set"
    for domain in ("Male", "Female"):
        for i in range(30):
            trees.put(root / domain / ("joy", "fear")[i % 2] / f"{i}.jpg", i if domain == "Male" else 100 + i)
            trees.picture(i if domain == "Male" else 100 + i, (2000, 2000)).save(
                root / domain / ("joy", "fear")[i % 2] / f"{i}.jpg"
            )
    program = (
        "import sys; from job.shards.writing.write_shards import write_shards\n"
        f"{trees.PEAK}held = peak()\n"
        "write_shards('folders', sys.argv[1], sys.argv[2], workers=1, shards=4, progress=False)\n"
        "grown = peak() - held\n"
        "assert grown < 120_000, grown\n"
    )
    done = subprocess.run([sys.executable, "-c", program, root, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert load_manifest(tmp_path / "out").samples("source", "train") > 20


def test_progress_shows_count_and_rate(tmp_path, capfd):
    root = trees.folders(tmp_path / "set")
    write_shards("folders", root, tmp_path / "out", size=16, shards=4, workers=1)
    stderr = capfd.readouterr().err
    for doing in ("converting", "writing"):
        assert f"{doing}: 84 of 84 images, " in stderr
    assert "images/s" in stderr
