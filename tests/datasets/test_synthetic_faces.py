"""The synthetic faces are reproducible and disjoint by subject, and the domain shift does not change the emotion."""

import dataclasses
import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from job.datasets import synthetic_faces as faces
from job.datasets.synthetic_faces_sheet import contact_sheet
from job.face_drawing.action_units import ACTION_UNITS, INTENSITY, PROTOTYPES, express, prototype_expression
from job.face_drawing.appearance import draw_identity, draw_shot
from job.face_drawing.geometry import landmarks
from job.face_drawing.render import render
from job.vocabulary import DOMAINS, EMOTIONS, SOURCE, SPLITS, TARGET

SMALL = {"train": 140, "val": 70, "test": 70}


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


@pytest.fixture(scope="module")
def records():
    return faces.records(None, 3, **SMALL)


def test_counts_and_keys(records):
    counts = Counter((r.domain, r.split) for r in records)
    assert counts == {(domain, split): SMALL[split] for domain in DOMAINS for split in SPLITS}
    assert len({(r.domain, r.split, r.key) for r in records}) == len(records)
    assert not any("." in r.key or "/" in r.key for r in records)  # WebDataset cuts keys at the first dot


def test_subjects_are_disjoint_across_splits_and_domains(records):
    homes = {}
    for r in records:
        homes.setdefault(r.subject, set()).add((r.domain, r.split))
    assert all(len(home) == 1 for home in homes.values())
    assert len({r.payload[1:3] for r in records}) == len(homes)  # the recipe's numbers are as disjoint as the names


def test_both_domains_have_the_same_uniform_prior(records):
    for domain in DOMAINS:
        counts = Counter(r.label for r in records if r.domain == domain and r.split == "train")
        assert counts == dict.fromkeys(range(len(EMOTIONS)), SMALL["train"] // len(EMOTIONS))


def test_a_split_does_not_depend_on_the_size_of_the_others(records):
    other = faces.records(None, 3, train=25, val=70, test=70)
    assert [r for r in other if r.split == "test"] == [r for r in records if r.split == "test"]


def test_pixels_are_a_pure_function_of_the_record(records):
    chosen = records[:3] + records[-3:]
    first = [faces.read(r, 48) for r in chosen]
    np.random.seed(0)  # the global generator must not matter, nor the order, nor a trip through pickle
    again = [faces.read(r, 48) for r in reversed(pickle.loads(pickle.dumps(chosen)))][::-1]
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)


def test_the_seed_changes_every_image(records):
    other = faces.records(None, 4, **SMALL)
    assert (faces.read(records[0], 48) != faces.read(other[0], 48)).mean() > 0.5


@pytest.mark.parametrize("size", [48, 64, 96, 33])
def test_shape_and_range(records, size):
    for record in (records[0], records[-1]):
        pixels = faces.read(record, size)
        assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)
        assert pixels.std() > 10


def test_many_people_render(records):
    """No proportion, style or pose within the drawn ranges leaves the canvas or breaks a curve."""
    assert all(faces.read(r, 32).shape == (32, 32, 3) for r in records[::3])


def test_the_docs_say_what_the_generator_does():
    text = (Path(__file__).parents[2] / "docs" / "faces.md").read_text()
    assert "an intensity of {:g} to {:g},".format(*INTENSITY) in text
    for emotion, prototype in PROTOTYPES.items():
        core, optional = re.search(rf"^\| {emotion} \| (.*?) \| (.*)\|$", text, re.MULTILINE).groups()
        assert set(map(int, re.findall(r"\d+", core))) == set(prototype.core)
        documented = {int(unit): int(share) for unit, share in re.findall(r"(\d+)[a-z ]* \((\d+) %\)", optional)}
        assert documented == {unit: round(100 * probability) for unit, (probability, _) in prototype.optional.items()}


def test_prototypes_name_known_action_units_in_the_order_of_the_labels():
    assert tuple(PROTOTYPES) == EMOTIONS == tuple(faces.LAYOUT.class_names)
    cores = [frozenset(p.core) for p in PROTOTYPES.values()]
    assert len(set(cores)) == len(EMOTIONS)
    assert all(set(p.core) | set(p.optional) <= set(ACTION_UNITS) for p in PROTOTYPES.values())


def test_expressions_vary_around_their_prototype():
    drawn = [express("joy", generator(i)) for i in range(200)]
    smile = np.array([face[12] for face in drawn])
    assert 0.6 < smile.mean() < 0.95
    assert smile.std() > 0.05
    assert 0.0 < np.abs(smile[:, 0] - smile[:, 1]).mean() < 0.2  # asymmetric, but a smile on both sides
    assert max(face[4][0] for face in drawn) < 0.4  # a stray brow lowerer never reads as anger


def test_the_domain_does_not_reach_the_expression(monkeypatch):
    """Action units have the same distribution in both domains."""
    seen = {domain: [] for domain in DOMAINS}
    monkeypatch.setattr(faces, "render", lambda person, face, shot, size: face)
    for record in faces.records(None, 0, train=1400, val=1, test=1):
        seen[record.domain].append([*faces.read(record, 48).values(), (record.label, 0)])
    men, women = np.array(seen[SOURCE]), np.array(seen[TARGET])
    for label in range(len(EMOTIONS)):
        a, b = (x[x[:, -1, 0] == label][:, :-1].mean(axis=(0, 2)) for x in (men, women))
        assert np.abs(a - b).max() < 0.08  # 200 images each: the means differ by sampling only


def test_action_units_move_the_face_as_their_muscles_do():
    person = draw_identity(SOURCE, generator(1))
    shot = dataclasses.replace(draw_shot(SOURCE, generator(1)), yaw=0.0, pitch=0.0, roll=0.0)
    rest = landmarks(person, prototype_expression("neutral"), shot, 100)
    face = {e: landmarks(person, prototype_expression(e), shot, 100) for e in EMOTIONS}
    corner, inner_brow = (lambda p: p["upper_in"][0, 1]), (lambda p: p["brow0"][0, 1])
    assert corner(face["joy"]) < corner(rest) < corner(face["sadness"])  # y grows downwards
    assert inner_brow(face["surprise"]) < inner_brow(rest) < inner_brow(face["anger"])
    gap = {e: p["lower_in"][3, 1] - p["upper_in"][3, 1] for e, p in face.items()}
    assert max(gap, key=gap.get) == "surprise"
    assert max(abs(gap["neutral"]), abs(gap["anger"])) < 0.5
    eye = {e: p["eye0"][5, 1] - p["eye0"][2, 1] for e, p in face.items()}
    assert min(eye["surprise"], eye["fear"]) > eye["neutral"] > max(eye["joy"], eye["disgust"])
    assert face["disgust"]["wing0"][1, 1] < rest["wing0"][1, 1]


def test_domains_look_different_and_emotions_show():
    """Lips against skin are redder on women; and on one face in one shot, every two emotions differ in pixels."""
    shot = draw_shot(TARGET, generator(5))
    redness = {}
    for domain in DOMAINS:
        people = [draw_identity(domain, generator(i)) for i in range(100)]
        redness[domain] = np.mean([p.lips[0] / p.lips[1] - p.skin[0] / p.skin[1] for p in people])
    assert redness[TARGET] > redness[SOURCE] + 0.3
    person = draw_identity(TARGET, generator(5))
    pictures = [render(person, prototype_expression(e), shot, 64).astype(float) for e in EMOTIONS]
    distances = [np.abs(a - b).mean() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(distances) > 0.5


def test_the_contact_sheet_of_the_docs_has_a_row_per_emotion_and_a_column_per_person():
    sheet = contact_sheet(people=1, size=16)
    assert sheet.shape == (len(EMOTIONS) * 16, 2 * 16 + 2, 3)
