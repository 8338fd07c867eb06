"""Look at every image once before anything is planned: can it be read, which others equal it, where is the face.

In chunks, on all cores. What a chunk showed is kept until the shards are finished, so that a run that was killed
goes on where it was.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from job.data.crop import Box, find_face
from job.data.fetch import fetch_all
from job.data.found import Place
from job.data.picture import UnreadableError, check_picture, read_picture

CHUNK = 1000  # images a task
Fact = tuple[str | None, str | None, Box | None]  # digest of the content (hex), why it cannot be read, the face


def survey_chunk(number: int, places: Sequence[Place], faces: bool, folder: Path) -> tuple[int, list[Fact]]:
    """The facts of some images, with the chunk's number; from `folder` where an interrupted run has left them.

    With `faces`, images are decoded and the largest face is looked for; without, the header is looked at.
    """
    known = folder / f"survey-{number:06d}.json"
    state = _state(places, faces)
    try:
        held = json.loads(known.read_bytes())
        if held["state"] == state and len(held["facts"]) == len(places):
            return number, [(digest, reason, box and tuple(box)) for digest, reason, box in held["facts"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not looked at yet, or half written
    facts = [look(content, faces) for content in fetch_all(places)]
    partial = known.with_name(f"{known.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps({"state": state, "facts": facts}))
    os.replace(partial, known)
    return number, facts


def look(content: bytes | Exception, faces: bool) -> Fact:
    """What is to be known of one image, or of why it cannot be had, before it is planned."""
    if isinstance(content, Exception):
        return None, why(content), None
    try:
        face = None
        if faces:
            face = find_face(read_picture(content))
        else:
            check_picture(content)
    except UnreadableError as error:
        return None, why(error), None
    return hashlib.sha256(content).hexdigest()[:32], None, face


def why(error: Exception) -> str:
    """An error about a file as a reason of one line, without the path that stands beside it anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _state(places: Sequence[Place], faces: bool) -> str:
    """What the facts depend on: the files by path, size and time of their last change."""
    digest = hashlib.sha256(b"faces" if faces else b"headers")
    for place in places:
        digest.update(f"{place}{_stamp(place)}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _stamp(place: Place) -> tuple[int, int] | None:
    try:
        about = os.stat(place if isinstance(place, str) else place[0])
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns
