"""Classes belong to the data set: the option `classes` takes any names."""

import json
from collections import Counter

import pytest

from job.datasets.class_names import Classes, natural, read_classes
from job.shards.inspection.contact_sheet import write_sheet
from job.shards.inspection.inspect_shards import inspect_shards
from job.system.errors import JobError
from job.vocabulary import EMOTIONS
from tests.support import trees
from tests.support.datasets import build, samples, tally

DIGITS = tuple(str(digit) for digit in range(11))
HOME = ("Alarm_Clock", "Backpack", "Batteries")
SIDES = {"source": "photos", "target": "drawings"}


def two(root, names=DIGITS, target=None, each=6):
    trees.folders(root, domains=("photos",), names=names, each=each)
    return trees.folders(root, domains=("drawings",), names=target or names, each=each, first=10_000)


def test_names_with_numbers_are_in_the_order_of_the_numbers():
    assert sorted(["10", "9", "a10b", "a9b", "a9", "Zebra", "ant", "02"], key=natural) == [
        "02", "9", "10", "a9", "a9b", "a10b", "ant", "Zebra",
    ]  # fmt: skip
    natural("9" * 5000)  # more digits than int() takes


def test_which_words_mean_a_class():
    classes = read_classes("Alarm_Clock,Backpack,angry")
    assert [classes.label_of(word) for word in ("Alarm_Clock", "alarm clock", "ALARM-CLOCK", "Clock")] == [
        0,
        0,
        0,
        None,
    ]
    assert classes.label_of("fury") == 2, "an emotion by another of its names"
    letters = Classes(("A", "a", "1-2", "12", "+", "-"))
    assert [letters.label_of(word) for word in ("A", "a", "1-2", "12", "+", "-")] == [0, 1, 2, 3, 4, 5]
    assert letters.label_of("B") is None
    assert read_classes(None).names == read_classes("emotions").names == EMOTIONS


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("cat", "give emotions, folders, or names"),
        ("cat,,dog", "give emotions"),
        ("cat,dog,cat", "cat is listed twice"),
    ],
)
def test_an_invalid_list_of_classes_is_refused(option, says):
    with pytest.raises(JobError, match=rf"--option classes={option}: {says}"):
        read_classes(option)


def test_lookups_are_fast_with_many_classes():
    names = tuple(f"class {number}" for number in range(20_000))
    classes = Classes(names)
    assert [classes.label_of(name.upper()) for name in names] == list(range(20_000))


@pytest.mark.parametrize("word", ["two\nlines", "bell\a", "x" * 101])
def test_a_name_that_is_not_one_line_is_refused(word):
    for classes in (lambda: Classes(None).settle(["a", word], "the source"), lambda: read_classes(f"a,{word}")):
        with pytest.raises(JobError, match="cannot be the name of a class: it must be one line") as caught:
            classes()
        assert "\n" not in str(caught.value)


# folders ----------------------------------------------------------------------------------------------------------


def test_classes_are_the_folders_of_the_source(tmp_path):
    manifest = build("folders", two(tmp_path / "set"), tmp_path / "out", options={**SIDES, "classes": "folders"})
    assert manifest.class_names == DIGITS
    read = samples(tmp_path / "out")
    assert tally(read, "domain", "emotion") == Counter({(d, n): 6 for d in ("source", "target") for n in DIGITS})
    assert all(sample["source"].split("/")[1] == sample["emotion"] for sample in read)
    assert "verified" in inspect_shards(tmp_path / "out", verify=True)
    write_sheet(tmp_path / "out", tmp_path / "sheet.png")
    build("folders", tmp_path / "set", tmp_path / "out", options={**SIDES, "classes": "folders"})  # is complete


def test_classes_are_those_of_a_list_in_its_order(tmp_path):
    root = two(tmp_path / "set", (*HOME, "Bed"))
    manifest = build("folders", root, tmp_path / "out", options={**SIDES, "classes": "backpack,bed,Alarm Clock"})
    assert manifest.class_names == ("backpack", "bed", "Alarm Clock")
    assert manifest.left_out == {"class Batteries": 12}
    assert {(s["source"].split("/")[1], s["emotion"]) for s in samples(tmp_path / "out")} == {
        ("Backpack", "backpack"),
        ("Bed", "bed"),
        ("Alarm_Clock", "Alarm Clock"),
    }


def test_without_the_option_the_message_lists_the_names_and_the_option(tmp_path):
    with pytest.raises(JobError) as caught:
        build("folders", two(tmp_path / "set"), tmp_path / "out", options=SIDES)
    assert str(caught.value) == (
        "no image of the source, photos, shows one of the seven emotions; "
        "the names in the data set are 0, 1, 2, 3, 4, 5, 6, 7, ... (11 in all): use these names as the classes, "
        "--option classes=folders, or some of them, "
        "classes=NAME,NAME,..."
    )
    with pytest.raises(JobError, match=r"shows one of the classes cat, dog; the names .* are 0, .*correct the list"):
        build("folders", tmp_path / "set", tmp_path / "out", options={**SIDES, "classes": "cat,dog"})


def test_a_single_class_is_refused(tmp_path):
    with pytest.raises(JobError, match="classes=folders: the source, photos, names only thing, and 2 to"):
        build("folders", two(tmp_path / "set", ("thing",)), tmp_path / "out", options={**SIDES, "classes": "folders"})


def test_a_target_without_folders_of_classes(tmp_path):
    root = trees.folders(tmp_path / "set", domains=("photos",), names=HOME, each=12)
    trees.unlabelled(root / "drawings", 40)
    manifest = build("folders", root, tmp_path / "out", options={**SIDES, "classes": "folders"})
    assert manifest.class_names == HOME
    assert sum(manifest.unlabelled["target"].values()) == 40


def test_a_manifest_of_an_earlier_version_stays_valid(tmp_path):
    """Shards of an earlier version, whose manifest lacks newer options, are complete."""
    root = trees.folders(tmp_path / "set")
    build("folders", root, tmp_path / "out")
    path = tmp_path / "out/manifest.json"
    held = json.loads(path.read_text())
    for name in ("unlabelled", "subjects_unknown"):
        del held[name]
    del held["options"]["classes"]
    path.write_text(json.dumps(held))
    build("folders", root, tmp_path / "out")
    assert json.loads(path.read_text()) == held


# Classes that one domain lacks ------------------------------------------------------------------------------------


def test_a_class_that_one_domain_lacks_is_reported(tmp_path, capsys):
    root = two(tmp_path / "set", HOME, target=("Backpack", "Bed"), each=12)
    manifest = build("folders", root, tmp_path / "out", options={**SIDES, "classes": "folders"}, progress=True)
    assert manifest.left_out == {"class Bed": 12}
    stderr = capsys.readouterr().err
    text = inspect_shards(tmp_path / "out")
    for words in (stderr, text):
        assert "the target has no labelled image of class Alarm_Clock, Batteries: nothing can be measured" in words


def test_a_misspelt_class_is_a_warning_with_the_name_that_is_meant(tmp_path, capsys):
    root = two(tmp_path / "set", ("Angry", "Happy", "Sad"), each=12)
    options = {**SIDES, "classes": "Angry,Happpy,Sad"}
    build("folders", root, tmp_path / "out", options=options, progress=True)
    for words in (capsys.readouterr().err, inspect_shards(tmp_path / "out")):
        assert "warning: the source has no labelled image of class Happpy (did you mean Happy?): it cannot" in words
        assert "warning: left out: 24 class Happy: did you mean Happpy? correct the misspelt one" in words


def test_a_class_that_the_source_lacks_is_reported(tmp_path, capsys):
    trees.ckplus(tmp_path / "CK+")
    for path in list((tmp_path / "CK+/Emotion").rglob("*_002_*.txt")):
        path.write_text("   1.0000000e+00\n")  # contempt becomes anger
    trees.jaffe(tmp_path / "jaffe")
    options = {"source": f"ckplus:{tmp_path / 'CK+'}", "target": f"jaffe:{tmp_path / 'jaffe'}", "source_peak": 3}
    for path in list((tmp_path / "CK+/Emotion").rglob("*_007_*.txt")):
        path.write_text("   6.0000000e+00\n")  # surprise becomes sadness
    build("pair", None, tmp_path / "out", options=options, progress=True, workers=1)
    stderr = capsys.readouterr().err
    for words in (stderr, inspect_shards(tmp_path / "out")):
        assert "the source has no labelled image of class surprise: it cannot be learned from there" in words


# csv, webdataset, pair --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["emotion", "Class", "label"])
def test_classes_of_a_table(tmp_path, column):
    rows = []
    for i in range(66):
        path = trees.put(tmp_path / "set" / f"{i}.png", i)
        rows.append({"path": path.name, "domain": ("day", "night")[i % 2], column: DIGITS[i % 11]})
    trees.table(tmp_path / "set", rows)
    options = {"source": "day", "target": "night", "classes": "folders"}
    manifest = build("csv", tmp_path / "set", tmp_path / "out", options=options)
    assert manifest.class_names == DIGITS
    assert {(int(s["source"].split(".")[0]) % 11, s["emotion"]) for s in samples(tmp_path / "out")} == set(
        enumerate(DIGITS)
    )


def test_a_table_of_other_classes_names_the_option(tmp_path):
    rows = [{"path": trees.put(tmp_path / f"{i}.png", i).name, "domain": "mf"[i % 2], "label": "cat"} for i in range(4)]
    trees.table(tmp_path, rows)
    with pytest.raises(JobError, match=r"the names in .* are cat: use these names .*--option classes=folders"):
        build("csv", tmp_path, tmp_path.parent / "out", options={"source": "m", "target": "f"})


def test_numbers_in_tars_become_names_with_the_option(tmp_path):
    trees.tars(tmp_path / "tars")
    manifest = build("webdataset", tmp_path / "tars", tmp_path / "out", options={"classes": "folders"})
    assert manifest.class_names == DIGITS[:7]
    assert {(int(s["source"][-5:]) % 7, s["emotion"]) for s in samples(tmp_path / "out")} == set(enumerate(DIGITS[:7]))


def test_a_list_names_the_numbers_in_tars(tmp_path):
    trees.tars(tmp_path / "tars")
    names = ("cat", "dog", "cow", "hen", "pig", "fox", "owl")
    manifest = build("webdataset", tmp_path / "tars", tmp_path / "out", options={"classes": ",".join(names)})
    assert manifest.class_names == names
    assert {(int(s["source"][-5:]) % 7, s["emotion"]) for s in samples(tmp_path / "out")} == set(enumerate(names))


def test_shards_of_other_classes_are_a_layout_too(tmp_path):
    options = {**SIDES, "classes": "folders"}
    first = build("folders", two(tmp_path / "set"), tmp_path / "first", options=options)
    again = build("webdataset", tmp_path / "first", tmp_path / "again")
    assert again.class_names == first.class_names == DIGITS
    assert tally(samples(tmp_path / "again"), "domain", "emotion") == tally(
        samples(tmp_path / "first"), "domain", "emotion"
    )


def test_a_pair_of_folders(tmp_path):
    root = two(tmp_path / "set")
    options = {side: f"folders:{root / folder}" for side, folder in SIDES.items()}
    with pytest.raises(JobError, match="shows one of the seven emotions; the names in the data set are 0, 1"):
        build("pair", None, tmp_path / "out", options=options)
    manifest = build("pair", None, tmp_path / "out", options={**options, "classes": "folders"})
    assert manifest.class_names == DIGITS
    assert tally(samples(tmp_path / "out"), "domain", "emotion") == Counter(
        {(d, n): 6 for d in ("source", "target") for n in DIGITS}
    )


def test_a_pair_of_folders_and_tars_of_numbers(tmp_path):
    trees.folders(tmp_path / "a", domains=("",), names=DIGITS[:7])
    trees.tars(tmp_path / "b", first=500)
    options = {"source": f"folders:{tmp_path / 'a'}", "target": f"webdataset:{tmp_path / 'b'}", "classes": "folders"}
    build("pair", None, tmp_path / "out", options=options)
    for sample in samples(tmp_path / "out"):
        if sample["domain"] == "target":
            assert sample["emotion"] == DIGITS[int(sample["source"][-5:]) % 7]


# Options of the sides of a pair -----------------------------------------------------------------------------------


def votes(root):
    names = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
    rows = [{"Usage": "Training", "Image name": "", **dict.fromkeys(names, 0), names[i % 7]: 10} for i in range(140)]
    return trees.table(root, rows, "fer2013new.csv")


@pytest.mark.parametrize("option", ["ferplus", "target_ferplus"])
def test_a_pair_takes_the_votes_of_fer_plus(tmp_path, option):
    trees.jaffe(tmp_path / "jaffe")
    votes(trees.fer2013(tmp_path / "fer"))
    options = {"source": f"jaffe:{tmp_path / 'jaffe'}", "target": f"fer2013:{tmp_path / 'fer'}"}
    build("pair", None, tmp_path / "out", options={**options, option: "fer2013new.csv"})
    ours = ("neutral", "joy", "surprise", "sadness", "anger", "disgust", "fear")
    women = [sample for sample in samples(tmp_path / "out") if sample["domain"] == "target"]
    assert len(women) == 140
    assert all(sample["emotion"] == ours[int(sample["source"][-11:-4]) % 7] for sample in women)


def test_each_side_of_a_pair_has_its_own_options(tmp_path):
    for folder, first in (("a", 0), ("b", 500)):
        for i in range(84):
            trees.put(tmp_path / folder / EMOTIONS[i % 7] / f"{folder}{i // 7}_{i}.png", first + i)
    options = {"source": f"folders:{tmp_path / 'a'}", "target": f"folders:{tmp_path / 'b'}"}
    build("pair", None, tmp_path / "out", options={**options, "source_subject": r"/(a\d+)_"})
    known = {(s["domain"], s["subject"] is not None) for s in samples(tmp_path / "out")}
    assert known == {("source", True), ("target", False)}
    build("pair", None, tmp_path / "both", options={**options, "subject": r"/([ab]\d+)_"})
    assert all(sample["subject"] for sample in samples(tmp_path / "both"))


def test_options_that_no_side_of_a_pair_has(tmp_path):
    trees.jaffe(tmp_path / "jaffe")
    root = trees.folders(tmp_path / "set", domains=("",))
    options = {"source": f"jaffe:{tmp_path / 'jaffe'}", "target": f"folders:{root}"}
    for more, says in (
        ({"ferplus": "x.csv"}, "--option ferplus=x.csv: neither jaffe nor folders has an option ferplus: remove it"),
        ({"source_subject": "x"}, "--option source_subject=x: layout jaffe has no option subject: remove it"),
        ({"target_peak": "many"}, "--option target_peak=many: expected a whole number from 1 up"),
        ({"ferpluss": "x"}, "layout pair has no option 'ferpluss': did you mean ferplus"),
    ):
        with pytest.raises(JobError) as caught:
            build("pair", None, tmp_path / "out", options={**options, **more})
        assert says in str(caught.value)
