"""Every layout of real data sets, on small trees of generated images in that layout."""

import json
import os
import shutil
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest

from job.datasets import LAYOUTS, find_layout
from job.datasets.classes import NUMBERS, SYNONYMS, label_of, name_of
from job.datasets.image_search import Notes
from job.system.errors import JobError
from job.vocabulary import EMOTIONS
from tests.support import trees
from tests.support.datasets import assert_disjoint, build, samples, tally

# Names of emotions ------------------------------------------------------------------------------------------------


def test_one_table_of_synonyms():
    for word, emotion in {
        "Happiness": "joy",
        "HA": "joy",
        "happy": "joy",
        "AF": "fear",
        "FE": "fear",
        "an": "anger",
        "Angry ": "anger",
        "SURPRISED": "surprise",
        "Disgusted": "disgust",
        "sad": "sadness",
        "NE": "neutral",
    }.items():
        assert EMOTIONS[label_of(word)] == emotion
    for word in ("contempt", "unknown", "NF", "", "7"):
        assert label_of(word) is None
    assert set(SYNONYMS.values()) == set(EMOTIONS)


def test_every_number_means_what_its_data_set_says():
    assert [name_of("rafdb", n) for n in range(1, 8)] == [
        "surprise", "fear", "disgust", "joy", "sadness", "anger", "neutral",
    ]  # fmt: skip
    assert [name_of("fer2013", n) for n in range(7)] == [
        "anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral",
    ]  # fmt: skip
    assert [name_of("ckplus", n) for n in range(8)] == [
        "neutral", "anger", "contempt", "disgust", "fear", "joy", "sadness", "surprise",
    ]  # fmt: skip
    assert [name_of("affectnet", n) for n in range(11)] == [
        "neutral", "joy", "sadness", "surprise", "fear", "disgust", "anger", "contempt", "none", "uncertain", "no face",
    ]  # fmt: skip
    assert [name_of("expw", n) for n in range(7)] == [
        "anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral",
    ]  # fmt: skip
    assert [name_of("ravdess", n) for n in range(1, 9)] == [
        "neutral", "calm", "joy", "sadness", "anger", "fear", "disgust", "surprise",
    ]  # fmt: skip
    assert {name_of(layout, 19) for layout in NUMBERS} == {"number 19"}
    assert name_of("rafdb", 0) == "number 0"


# folders ----------------------------------------------------------------------------------------------------------


def test_folders(tmp_path):
    trees.folders(tmp_path / "set", domains=("male", "FEMALE"), each=10)
    build("folders", tmp_path / "set", tmp_path / "out")
    read = samples(tmp_path / "out")
    assert tally(read, "domain", "emotion") == Counter({(d, e): 10 for d in ("source", "target") for e in EMOTIONS})
    for domain in ("source", "target"):
        by_split = tally((s for s in read if s["domain"] == domain), "split", "emotion")
        assert [by_split["val", e] for e in EMOTIONS] == [1] * 7, "stratified: a tenth of every class"
        assert all(1 <= by_split["test", e] <= 2 for e in EMOTIONS)
    for sample in read:
        assert sample["source"].split("/")[0] == {"source": "male", "target": "FEMALE"}[sample["domain"]]
        assert sample["source"].split("/")[1] == sample["emotion"]
        assert sample["image"][:7, :, 0].mean() > 150 > 60 > sample["image"][9:, :, 0].mean()


def test_folders_with_their_own_splits_under_other_names(tmp_path):
    root = tmp_path / "set"
    names = ("Neutrality", "HAPPY", "sad", "Surprised", "angry", "Fearful", "disgusted")
    trees.folders(root, domains=("Men", "women"), splits=("Training", "validation", "TEST"), each=3, names=names)
    build("folders", root, tmp_path / "out")
    read = samples(tmp_path / "out")
    assert tally(read, "domain", "split", "emotion") == Counter(
        {(d, s, e): 3 for d in ("source", "target") for s in ("train", "val", "test") for e in EMOTIONS}
    )
    for sample in read:
        assert sample["source"].lower().startswith(sample["split"])


@pytest.mark.parametrize(("held", "made"), [(("train", "test"), "val"), (("train", "val"), "test")])
def test_a_missing_split_is_taken_from_train(tmp_path, held, made):
    trees.folders(tmp_path / "set", splits=held, each=10)
    build("folders", tmp_path / "set", tmp_path / "out")
    read = samples(tmp_path / "out")
    assert {s["split"] for s in read} == {"train", "val", "test"}
    for sample in read:
        assert sample["source"].startswith(sample["split"] if sample["split"] != made else "train")


def test_any_two_folders_are_domains(tmp_path):
    trees.folders(tmp_path / "set", domains=("photos", "Cartoons", "paintings"))
    manifest = build("folders", tmp_path / "set", tmp_path / "out", options={"source": "Photos", "target": "cartoons"})
    assert {s["source"].split("/")[0] for s in samples(tmp_path / "out")} == {"photos", "Cartoons"}
    assert manifest.options["source"] == "Photos"
    assert sum(manifest.left_out.values()) == 42


def test_subjects_by_pattern(tmp_path):
    for domain in ("Male", "Female"):
        for i, emotion in enumerate(EMOTIONS * 6):
            trees.put(tmp_path / "set" / domain / emotion / f"{domain}{i // 7}-{i}.png", i + 100 * (domain == "Male"))
    build("folders", tmp_path / "set", tmp_path / "out", options={"subject": r"([^/]+)-\d+\.png$"})
    read = samples(tmp_path / "out")
    assert {s["subject"] for s in read} == {f"{d}{i}" for d in ("Male", "Female") for i in range(6)}
    assert_disjoint(read)


def test_contempt_and_unknown_are_left_out_and_counted_or_refused(tmp_path):
    trees.folders(tmp_path / "set", names=(*EMOTIONS, "Contempt", "bored"), each=4)
    manifest = build("folders", tmp_path / "set", tmp_path / "out")
    assert manifest.left_out == {"emotion Contempt": 8, "emotion bored": 8}
    with pytest.raises(JobError, match=r"Contempt/0\.jpg: emotion Contempt: .*--strict") as caught:
        build("folders", tmp_path / "set", tmp_path / "strict", strict=True)
    assert "\n" not in str(caught.value)


# csv --------------------------------------------------------------------------------------------------------------


def csv_rows(root, people=8):
    rows = []
    for i in range(people * 14):
        person, domain = i // 7, ("night", "day")[i // 7 % 2]
        path = trees.put(root / "images" / f"{i}.png", i)
        row = {"Path": path.relative_to(root), "Domain": domain, "Emotion": EMOTIONS[i % 7], "Subject": f"p{person}"}
        rows.append(row)
    return rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(tmp_path, delimiter):
    root = tmp_path / "set"
    trees.table(root, csv_rows(root), delimiter=delimiter)
    build("csv", root, tmp_path / "out", options={"source": "day", "target": "night"})
    read = samples(tmp_path / "out")
    assert len(read) == 8 * 14
    assert_disjoint(read)
    for sample in read:
        number = int(sample["source"].split("/")[1].split(".")[0])
        assert sample["domain"] == ("target", "source")[number // 7 % 2]
        assert sample["emotion"] == EMOTIONS[number % 7]
        assert sample["subject"] == f"p{number // 7}"


def test_csv_with_splits(tmp_path):
    root = tmp_path / "set"
    rows = csv_rows(root)
    for i, row in enumerate(rows):
        row["split"] = ("train", "Training", "valid", "test")[i // 14 % 4]
    trees.table(root, rows, "a.csv")
    trees.table(root, rows[:5], "b.csv")
    domains = {"source": "day", "target": "night"}
    with pytest.raises(JobError, match="has 2 tables"):
        build("csv", root, tmp_path / "out", options=domains)
    build("csv", root, tmp_path / "out", options={**domains, "table": "a.csv"})
    for sample in samples(tmp_path / "out"):
        number = int(sample["source"].split("/")[1].split(".")[0])
        assert sample["split"] == ("train", "train", "val", "test")[number // 14 % 4]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"split": "later"}, "row 2: split 'later' is not train"),
        ({"Domain": "day", "Emotion": ""}, "row 2 of the source has no emotion: complete it"),
        ({"Path": "images/1.png", "Emotion": "fear"}, "row 3: images/1.png differs from an earlier row"),
    ],
)
def test_mistakes_in_a_table_name_the_row(tmp_path, change, says):
    rows = [{"split": "", **row} for row in csv_rows(tmp_path / "set", 2)]
    rows[0] |= change
    trees.table(tmp_path / "set", rows)
    with pytest.raises(JobError, match=says):
        build("csv", tmp_path / "set", tmp_path / "out", options={"source": "day", "target": "night"})


def test_a_table_without_a_column(tmp_path):
    trees.table(tmp_path / "set", [{"path": "x.png", "emotion": "joy"}])
    with pytest.raises(JobError, match="has no column 'domain' but path, emotion"):
        build("csv", tmp_path / "set", tmp_path / "out")


def test_a_subject_in_two_splits_of_a_table_is_refused(tmp_path):
    rows = [{**row, "split": ("train", "test")[i % 2]} for i, row in enumerate(csv_rows(tmp_path / "set"))]
    trees.table(tmp_path / "set", rows)
    with pytest.raises(JobError, match="splits must be disjoint by subject"):
        build("csv", tmp_path / "set", tmp_path / "out", options={"source": "day", "target": "night"})


# kdef -------------------------------------------------------------------------------------------------------------


def test_kdef(tmp_path):
    trees.kdef(tmp_path / "KDEF")
    (tmp_path / "KDEF" / "AF01" / "AF01V.JPG").write_bytes(b"a name that says too little")
    manifest = build("kdef", tmp_path / "KDEF", tmp_path / "out")
    read = samples(tmp_path / "out")
    assert len(read) == 2 * 8 * 2 * 7, "frontal ones only"
    assert_disjoint(read)
    codes = {"AF": "fear", "AN": "anger", "DI": "disgust", "HA": "joy", "NE": "neutral", "SA": "sadness"}
    for sample in read:
        name = sample["source"].split("/")[-1]
        assert sample["domain"] == {"M": "source", "F": "target"}[name[1]]
        assert sample["emotion"] == {**codes, "SU": "surprise"}[name[4:6]]
        assert sample["subject"] == name[1:4], "both sessions are the same person"
        assert name[6:] == "S.JPG"
    assert manifest.left_out == {"files that are not named as in AF01ANS.JPG": 1, "photos from another angle": 224}
    with pytest.raises(JobError, match=r"AF01V\.JPG: files that are not named"):
        build("kdef", tmp_path / "KDEF", tmp_path / "strict", strict=True)


def test_kdef_flat_swapped_and_from_more_angles(tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in trees.kdef(tmp_path / "KDEF", people=4).rglob("*.JPG"):
        path.rename(flat / path.name.lower())
    options = {"source": "women", "target": "M", "angles": "S,HL"}
    build("kdef", flat, tmp_path / "out", options=options)
    read = samples(tmp_path / "out")
    assert len(read) == 4 * 2 * 2 * 7 * 2
    assert {(s["domain"], s["subject"][0]) for s in read} == {("source", "F"), ("target", "M")}
    with pytest.raises(JobError, match="expected some of FL,HL,S,HR,FR, or all"):
        build("kdef", flat, tmp_path / "other", options={"angles": "S,UP"})


# ferg -------------------------------------------------------------------------------------------------------------


def test_ferg(tmp_path):
    trees.ferg(tmp_path / "FERG_DB_256")
    build("ferg", tmp_path / "FERG_DB_256", tmp_path / "out")
    read = samples(tmp_path / "out")
    assert_disjoint(read)
    assert len(read) == 6 * 7 * 3
    men = {"ray", "malcolm", "jules"}
    for sample in read:
        assert (sample["domain"] == "source") == (sample["subject"] in men)
        assert sample["source"].startswith(f"{sample['subject']}/{sample['subject']}_{sample['emotion']}/")
    assert len(tally(read, "domain", "split", "subject")) == 6, "a character for each split of each domain"


def test_ferg_split_by_image(tmp_path):
    trees.ferg(tmp_path / "ferg", each=10)
    build("ferg", tmp_path / "ferg", tmp_path / "out", options={"subjects": False})
    read = samples(tmp_path / "out")
    assert {s["subject"] for s in read} == {None}
    assert len({s["source"].split("/")[0] for s in read if s["split"] == "val"}) == 6


# rafdb ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["patition", "partition"])
def test_rafdb(tmp_path, spelling):
    trees.rafdb(tmp_path / "RAF-DB", spelling=spelling)
    manifest = build("rafdb", tmp_path / "RAF-DB", tmp_path / "out")
    read = samples(tmp_path / "out")
    assert manifest.left_out == {"domain unsure": 84 // 5 + 28 // 5}
    names = ("surprise", "fear", "disgust", "joy", "sadness", "anger", "neutral")
    for sample in read:
        split, number = sample["source"].split("/")[-1].split("_")[:2]
        assert sample["emotion"] == names[int(number) % 7]
        assert sample["domain"] == ("source", "target")[int(number) % 2]
        assert (sample["split"] == "test") == (split == "test")
    assert len([s for s in read if s["split"] == "val"]) == pytest.approx(0.1 * 67, abs=3)


@pytest.mark.parametrize(
    "line",
    [
        *("{} {} 0", "{}\t{}", "{},{}", "{}, {},0.98", "{};{};x", '"{}","{}"', "  {}   {}  ", "aligned/{} {}"),
        *("aligned\\{} {}", "{} {} 3 1 2"),
    ],
)
def test_rafdb_lists_in_other_formats(tmp_path, line):
    """Blanks, tabs, commas and semicolons; columns after the emotion; a header, blank lines, a byte order mark."""
    root = trees.rafdb(tmp_path / "set", train=28, test=14)
    build("rafdb", root, tmp_path / "right")
    path = root / "basic/EmoLabel/list_patition_label.txt"
    lines = [line.format(*words.split()) for words in path.read_text().splitlines()]
    path.write_text("\ufeffimage" + "\tlabel\n" + "\n\n".join(lines) + "\n\n", encoding="utf-8")
    build("rafdb", root, tmp_path / "out")
    of = [{sample["source"]: sample["emotion"] for sample in samples(tmp_path / name)} for name in ("right", "out")]
    assert of[0] == of[1]
    assert len(of[0]) == 35, "all of known gender"


@pytest.mark.parametrize("line", ["train_00001.jpg", "train_00001.jpg joy 5", "train_00001.jpg 0.9 5", "5 train_1.jpg"])
def test_an_invalid_rafdb_list_is_refused_by_line(tmp_path, line):
    root = trees.rafdb(tmp_path / "set", train=7, test=7)
    path = root / "basic/EmoLabel/list_patition_label.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(JobError, match=r"list_patition_label\.txt, line 15: '.*' is not of the form train_00001\.jpg"):
        build("rafdb", root, tmp_path / "out")


def test_paths_of_a_table_from_windows_or_macos(tmp_path):
    forms = [unicodedata.normalize(form, "René") for form in ("NFC", "NFD")]
    rows = []
    for i in range(28):
        path = trees.put(tmp_path / "set" / "Bilder 1" / f"{forms[i % 2]}{i}.png", i)
        name = str(path.relative_to(tmp_path / "set"))
        said = unicodedata.normalize(("NFD", "NFC")[i % 2], name).replace("/", "\\") if i > 3 else f"./{name}"
        rows.append({"path": said, "domain": ("male", "female")[i // 7 % 2], "emotion": EMOTIONS[i % 7]})
    rows.append({**rows[0], "path": rows[0]["path"].removeprefix("./")})
    trees.table(tmp_path / "set", rows)
    build("csv", tmp_path / "set", tmp_path / "out")
    read = samples(tmp_path / "out")
    assert len(read) == 28, "the same image twice, under two paths, is one"
    assert all(sample["source"].startswith("Bilder 1/Ren") for sample in read)


def test_a_file_whose_name_has_a_backslash_is_found_as_it_is(tmp_path):
    rows = []
    for i in range(14):
        path = trees.put(tmp_path / "set" / f"a\\{i}.png", i)
        rows.append({"path": path.name, "domain": ("male", "female")[i // 7], "emotion": EMOTIONS[i % 7]})
    trees.table(tmp_path / "set", rows)
    build("csv", tmp_path / "set", tmp_path / "out", options={"subjects": False})
    assert len(samples(tmp_path / "out")) == 14


def test_invalid_paths_in_a_table(tmp_path):
    rows = []
    for i in range(20):
        path = trees.put(tmp_path / "set" / f"{i}.png", i)
        rows.append({"path": path.name, "domain": "mf"[i % 2], "emotion": "joy"})
    for cell in ("\0", "a\0b", "9" * 5000, "/dev/zero", "..", "/", "a" * 5000, "[" * 5000, "1e309"):
        trees.table(tmp_path / "set", [*rows, {**rows[0], "path": cell}])
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        if "\0" in cell and sys.version_info < (3, 11):  # its csv module does not support NUL
            with pytest.raises(JobError, match="NUL"):
                build("csv", tmp_path / "set", tmp_path / "out", max_skipped="1")
            continue
        build("csv", tmp_path / "set", tmp_path / "out", max_skipped="1")
        assert len((tmp_path / "out/skipped.csv").read_text().splitlines()) == 2
    (tmp_path / "set/labels.csv").unlink()
    os.mkfifo(tmp_path / "set/labels.csv")
    with pytest.raises(JobError, match=r"labels\.csv is not a plain file"):
        build("csv", tmp_path / "set", tmp_path / "out2")


def test_rafdb_reports_a_listed_image_that_is_missing(tmp_path):
    trees.rafdb(tmp_path / "RAF-DB")
    (tmp_path / "RAF-DB/basic/Image/aligned/train_00007_aligned.jpg").unlink()
    build("rafdb", tmp_path / "RAF-DB", tmp_path / "out", max_skipped="2%")
    skipped = (tmp_path / "out/skipped.csv").read_text()
    assert 'train_00007.jpg,"listed in list_patition_label.txt, but missing"' in skipped


def test_rafdb_below_a_folder_whose_name_is_not_utf_8(tmp_path):
    root = trees.rafdb(tmp_path / "RAF-DB")
    try:
        os.rename(root / "basic", os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    except OSError:
        pytest.skip("the file system wants UTF-8")
    build("rafdb", root, tmp_path / "out")
    assert all(sample["source"].startswith("caf/xe9/Image/aligned/") for sample in samples(tmp_path / "out"))


def test_rafdb_in_class_folders_takes_genders_from_a_table(tmp_path):
    root, rows = tmp_path / "DATASET", []
    for split, count in (("train", 84), ("test", 28)):
        for i in range(1, count + 1):
            name = f"{split}_{i:05d}_aligned.jpg"
            trees.put(root / split / str(i % 7 + 1) / name, i if split == "train" else 500 + i)
            rows.append({"image": name, "gender": i % 2})
    table = trees.table(tmp_path, rows, "genders.csv")
    build("rafdb", root, tmp_path / "out", options={"gender": str(table)})
    read = samples(tmp_path / "out")
    assert len(read) == 112
    for sample in read:
        number = int(sample["source"].split("_")[1])
        assert sample["domain"] == ("source", "target")[number % 2]
        assert (sample["emotion"] == "joy") == (number % 7 + 1 == 4)


# fer2013 ----------------------------------------------------------------------------------------------------------

FER = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_fer2013(tmp_path, header):
    trees.fer2013(tmp_path / "fer", header=header)
    manifest = build("fer2013", tmp_path / "fer", tmp_path / "out", options={"gender": "genders.csv"}, size=48)
    read = samples(tmp_path / "out")
    assert len(read) == 140
    assert manifest.size == 48
    for sample in read:
        row = int(sample["source"][3:10])
        assert sample["emotion"] == FER[row % 7]
        assert sample["domain"] == ("target", "source")[row // 7 % 2]
        assert sample["split"] == (("train",) * 5 + ("val", "test"))[row // 14 % 7]
        wanted = np.asarray(trees.picture(row, (48, 48)).convert("L")).astype(int)
        assert abs(sample["image"][:, :, 1] - wanted).mean() < 3


def test_fer2013_skips_invalid_pixels(tmp_path):
    root = trees.fer2013(tmp_path / "fer")
    lines = (root / "fer2013.csv").read_text().splitlines()
    for row, pixel in ((8, "9" * 23), (9, "-1"), (10, "256"), (11, "x")):
        lines[row + 1] = f"3,{' '.join([pixel] * 64)},Training"
    (root / "fer2013.csv").write_text("\n".join(lines))
    build("fer2013", root, tmp_path / "out", options={"gender": "genders.csv"}, max_skipped="4")
    wrong = (tmp_path / "out/skipped.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in wrong] == [f"fer{row:07d}.png" for row in (8, 9, 10, 11)]
    assert all("a pixel is not between 0 and 255" in line for line in wrong[:3])


def test_fer2013_needs_genders(tmp_path):
    trees.fer2013(tmp_path / "fer", rows=7)
    with pytest.raises(JobError, match="--option gender=FILE"):
        build("fer2013", tmp_path / "fer", tmp_path / "out")


def test_fer2013_with_the_votes_of_fer_plus(tmp_path):
    root = trees.fer2013(tmp_path / "fer")
    names = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
    rows = []
    for i in range(140):
        votes = dict.fromkeys(names, 0) | {names[i % 7]: 10}
        if i < 3:
            votes = dict.fromkeys(names, 0) | [{"contempt": 10}, {"NF": 10}, {"fear": 5, "anger": 5}][i]
        rows.append({"Usage": "Training", "Image name": f"fer{i:07d}.png" if i != 1 else "", **votes})
    trees.table(root, rows, "fer2013new.csv")
    options = {"gender": "genders.csv", "ferplus": "fer2013new.csv"}
    manifest = build("fer2013", root, tmp_path / "out", options=options)
    assert manifest.left_out == {"emotion NF": 1, "emotion contempt": 1, "emotion with tied votes": 1}
    ours = ("neutral", "joy", "surprise", "sadness", "anger", "disgust", "fear")
    for sample in samples(tmp_path / "out"):
        assert sample["emotion"] == ours[int(sample["source"][3:10]) % 7]


def test_fer2013_in_class_folders(tmp_path):
    root, rows = tmp_path / "fer", []
    for split, name in (("train", "Training"), ("test", "PublicTest")):
        for i in range(70):
            path = trees.put(root / split / ("angry", "happy")[i % 2] / f"{name}_{i}.jpg", i + 1000 * (split == "test"))
            rows.append({"image": path.relative_to(root), "gender": ("m", "f")[i // 2 % 2]})
    trees.table(root, rows, "genders.csv")
    build("fer2013", root, tmp_path / "out", options={"gender": "genders.csv"})
    assert tally(samples(tmp_path / "out"), "domain", "emotion") == Counter(
        {("source", "anger"): 36, ("source", "joy"): 36, ("target", "anger"): 34, ("target", "joy"): 34}
    )


# jaffe, ckplus, pairs ---------------------------------------------------------------------------------------------


def test_ckplus_and_jaffe_as_a_pair(tmp_path):
    trees.ckplus(tmp_path / "CK+")
    trees.jaffe(tmp_path / "jaffe")
    options = {"source": f"ckplus:{tmp_path / 'CK+'}", "target": f"jaffe:{tmp_path / 'jaffe'}"}
    manifest = build("pair", None, tmp_path / "out", options=options)
    read = samples(tmp_path / "out")
    assert_disjoint(read)
    assert tally(read, "domain")["target",] == 140
    assert manifest.left_out["emotion contempt"] == 18
    assert manifest.left_out["frames of sequences without an emotion"] == 36
    names = ("", "anger", "contempt", "disgust", "fear", "joy", "sadness", "surprise")
    for sample in read:
        name = sample["source"].split("/")[-1]
        if sample["domain"] == "source":
            _, sequence, frame = name.removesuffix(".png").split("_")
            assert int(frame) in (1, 4, 5, 6)
            assert sample["emotion"] == ("neutral" if int(frame) == 1 else names[int(sequence)])
        else:
            codes = {"NE": "neutral", "HA": "joy", "SA": "sadness", "SU": "surprise", "AN": "anger", "DI": "disgust"}
            assert sample["emotion"] == {**codes, "FE": "fear"}[name[3:5]]
            assert sample["subject"] == f"target-{name[:2]}"


def test_ckplus_in_class_folders(tmp_path):
    for person in range(6):
        for i, emotion in enumerate(("anger", "contempt", "happy", "sadness")):
            trees.put(tmp_path / "CK+48" / emotion / f"S{person:03d}_00{i}_00000017.png", person * 10 + i)
    trees.jaffe(tmp_path / "jaffe")
    options = {"source": f"ckplus:{tmp_path / 'CK+48'}", "target": f"jaffe:{tmp_path / 'jaffe'}"}
    build("pair", None, tmp_path / "out", options=options)
    ours = [s for s in samples(tmp_path / "out") if s["domain"] == "source"]
    assert tally(ours, "emotion") == Counter({("anger",): 6, ("joy",): 6, ("sadness",): 6})
    assert_disjoint(ours)


@pytest.mark.parametrize("name", ["jaffe", "ckplus"])
def test_one_domain_needs_a_second(tmp_path, name):
    with pytest.raises(JobError, match=f"{name} is one domain.*job shards pair --source {name}:"):
        build(name, trees.jaffe(tmp_path / "set"), tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("jaffe", "expects --source LAYOUT:DIR"),
        ("jaffe:/nowhere", "there is no folder /nowhere"),
        ("jafe:/", "did you mean jaffe"),
        ("faces:/", "faces is not a layout of one data set on disk"),
    ],
)
def test_an_invalid_pair_is_refused(tmp_path, source, says):
    with pytest.raises(JobError, match=says):
        build("pair", None, tmp_path / "out", options={"source": source, "target": "jaffe:/elsewhere"})


def test_shards_are_not_written_into_the_folders_of_a_pair(tmp_path):
    """Also not through links or `..`: a second run would find the shards as images."""
    (tmp_path / "link").symlink_to(trees.jaffe(tmp_path / "jaffe"))
    trees.ckplus(tmp_path / "CK+")
    options = {"source": f"ckplus:{tmp_path / 'CK+'}", "target": f"jaffe:{tmp_path / 'jaffe'}"}
    for out, option in (("CK+/out", "--source"), ("link/out", "--target"), ("CK+/../jaffe/out", "--target")):
        with pytest.raises(JobError, match=rf"--out .*/out lies inside {option} .*: choose another"):
            build("pair", None, tmp_path / out, options=options)
    build("pair", None, tmp_path / "CK+ and jaffe", options=options)


# webdataset -------------------------------------------------------------------------------------------------------


def test_existing_tars(tmp_path):
    trees.tars(tmp_path / "tars")
    build("webdataset", tmp_path / "tars", tmp_path / "out", options={"classes": ",".join(EMOTIONS)})
    read = samples(tmp_path / "out")
    assert len(read) == 84
    assert_disjoint(read)
    for sample in read:
        number = int(sample["source"].split("/")[-1])
        assert sample["emotion"] == EMOTIONS[number % 7]
        assert sample["domain"] == ("source", "target")[number // 7 % 2]
        wanted = np.asarray(trees.picture(number).crop((4, 0, 36, 32)).resize((16, 16), 4)).astype(int)
        assert np.abs(sample["image"] - wanted).mean() < 8


def test_existing_tars_with_classes_of_their_own(tmp_path):
    trees.tars(tmp_path / "tars")
    names = [*reversed(EMOTIONS[1:]), "contempt"]
    manifest = build("webdataset", tmp_path / "tars", tmp_path / "out", options={"classes": ",".join(names)})
    assert manifest.left_out == {"emotion contempt": 12}
    assert {(int(s["source"][-5:]) % 7, s["emotion"]) for s in samples(tmp_path / "out")} == set(enumerate(names[:6]))


def test_names_in_tars_that_are_not_utf_8(tmp_path):
    trees.tars(tmp_path / "tars", folder="b\udce9b\udce9/")
    build("webdataset", tmp_path / "tars", tmp_path / "out", options={"classes": ",".join(EMOTIONS)})
    assert all(sample["source"].split("/", 1)[1].startswith("b/xe9b/xe9/000") for sample in samples(tmp_path / "out"))


def test_values_of_the_json_in_a_tar_may_be_invalid_text(tmp_path):
    about = json.dumps({"domain": "\ud800", "subject": "\udce9"}).encode()
    trees.tars(tmp_path / "tars")
    trees.tars(tmp_path / "tars/more", first=84, json=about)
    trees.tars(tmp_path / "tars/deep", shards=1, each=1, json=b"[" * 100_000)
    options = {"classes": ",".join(EMOTIONS)}
    manifest = build("webdataset", tmp_path / "tars", tmp_path / "out", max_skipped="1", options=options)
    assert manifest.left_out == {"domain \\ud800": 84, "unreadable": 1}


def test_our_own_shards_are_a_layout_too(tmp_path):
    trees.folders(tmp_path / "set")
    first = build("folders", tmp_path / "set", tmp_path / "first")
    again = build("webdataset", tmp_path / "first", tmp_path / "again")
    for manifest in (first, again):
        assert sum(manifest.samples(d, s) for d, splits in manifest.domains.items() for s in splits) == 84


def test_tars_that_are_damaged_or_compressed(tmp_path):
    trees.tars(tmp_path / "tars", shards=3)
    cut = tmp_path / "tars/2.tar"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2 + 300])
    options = {"classes": ",".join(EMOTIONS)}
    build("webdataset", tmp_path / "tars", tmp_path / "out", max_skipped="5%", options=options)
    assert len((tmp_path / "out/skipped.csv").read_text().splitlines()) == 2
    (tmp_path / "tars/x.tar.gz").touch()
    with pytest.raises(JobError, match="is compressed: decompress it"):
        build("webdataset", tmp_path / "tars", tmp_path / "more", options=options)


def test_a_root_of_another_layout_is_one_line(tmp_path):
    trees.folders(tmp_path / "set", domains=("a", "b"), each=1)
    for name in LAYOUTS:
        layout = find_layout(name)
        if layout.find is not None:
            with pytest.raises(JobError) as caught:
                build(name, tmp_path / "set" if layout.needs_root else None, tmp_path / "out" / name)
            assert "\n" not in str(caught.value)


def test_the_search_does_not_depend_on_the_order_of_the_file_system(tmp_path, monkeypatch):
    trees.folders(tmp_path / "set", each=2)
    options = {"source": "male", "target": "female", "subject": None}
    once = list(find_layout("folders").find(str(tmp_path / "set"), Notes(), **options))
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            with scandir(path) as entries:
                self._entries = list(entries)[::-1]

        def __enter__(self):
            return iter(self._entries)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert list(find_layout("folders").find(str(tmp_path / "set"), Notes(), **options)) == once
    assert json.dumps([found.origin for found in once])


# Invalid arguments -----------------------------------------------------------------------------------------------


def test_invalid_arguments_are_refused(tmp_path):
    root = trees.folders(tmp_path / "set")
    for settings, says in (
        ({"no_face": "drop"}, "--no-face drop requires --crop face"),
        ({"seed": -1}, "--seed -1 must be between 0"),
        ({"options": {"subject": "nobody(.*)"}}, "matches no path"),
        ({"options": {"target": "Womn"}}, r"found no image of the target, Womn, below .*; it has Female$"),
    ):
        with pytest.raises(JobError, match=says):
            build("folders", root, tmp_path / "out", **settings)
    with pytest.raises(JobError, match="is the dataset's own folder"):
        build("folders", root, root)
    with pytest.raises(JobError, match=rf"--out {root}/a/b lies inside --root {root}, so the shards would be read as"):
        build("folders", root, root / "a" / "b")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(JobError, match="--out: cannot make"):
        build("folders", root, tmp_path / "loop" / "out")
    with pytest.raises(JobError, match=r"has no image of the source left \(\d+ images without a face\): see --crop"):
        build("folders", root, tmp_path / "out", crop="face", no_face="drop")


def test_the_message_names_a_root_one_level_too_deep(tmp_path):
    root = trees.folders(tmp_path / "set")
    (root / "Male" / "joy" / "link.jpg").symlink_to("nowhere")
    with pytest.raises(JobError, match=r"found no images of .* below .*Male: it has \d+ images of unknown domain"):
        build("folders", root / "Male", tmp_path / "out")
