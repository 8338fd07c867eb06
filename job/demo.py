"""`python -m job demo`: a page on this computer that predicts a photo from a file or the camera, and explains it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from job.evaluation.card import WARNING
from job.evaluation.load import Loaded, load_model
from job.evaluation.markdown import plain
from job.predict import log_probabilities
from job.prediction.grad_cam import heat_maps, overlay
from job.prediction.prepare import Prepared, prepare, settings_of
from job.shards.writing.convert import reason_of
from job.shards.writing.crop import CropSettings
from job.shards.writing.read_picture import read_picture
from job.system.errors import JobError, first_line

HOST = "127.0.0.1"
PRIVACY = "Photos stay on this computer: the page sends nothing elsewhere, and they are deleted when it is closed."
_LONGEST_EDGE = 1024  # px of the photo on the page
_MOST_FACES = 20  # explained on the page
_COLOURS = ((230, 97, 1), (64, 120, 200), (120, 170, 40), (160, 80, 170), (200, 160, 20))
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}  # others would be downloaded
_SECONDS = 600  # after which the server deletes a photo; all are deleted when it ends


class Shown(NamedTuple):
    """What the page shows of one face: its probabilities by class, and the Grad-CAM overlay uint8 [E, E, 3] if any."""

    title: str
    probabilities: dict[str, float]
    explained: np.ndarray | None


class Analysis(NamedTuple):
    """The photo uint8 [H, W, 3] with a box around each face, what was predicted for each, and a note."""

    photo: np.ndarray
    faces: list[Shown]
    note: str


def analyse(loaded: Loaded, settings: CropSettings, path: str | Path) -> Analysis:
    """Predict the faces of a photo, the largest first, or the whole photo where the model was trained on whole photos.

    Raises JobError, with the reason in one line, when the photo cannot be read.
    """
    try:
        content = Path(path).read_bytes()
        photo = read_picture(content)
    except Exception as error:  # damaged files raise errors of many types
        raise JobError(f"this file cannot be read as a photo: {reason_of(error)}") from None
    parts = prepare(content, loaded, settings, all_faces=settings.kind == "face")[:_MOST_FACES]
    pixels = np.stack([part.pixels for part in parts])
    rows = np.exp(log_probabilities(loaded, pixels, next(loaded.model.parameters()).device))
    overlays, note = _explained(loaded, pixels)
    faces = []
    for number, (row, explained) in enumerate(zip(rows, overlays), 1):
        title = f"{loaded.class_names[int(row.argmax())]} {100 * row.max():.0f} %"
        probabilities = dict(zip(loaded.class_names, map(float, row), strict=True))
        faces.append(Shown(f"{number}: {title}" if len(parts) > 1 else title, probabilities, explained))
    if settings.kind == "face" and parts[0].face is None:
        note = f"No face was found: the centre of the photo was taken. {note}".strip()
    return Analysis(_with_boxes(photo, parts), faces, note)


def _explained(loaded: Loaded, pixels: np.ndarray) -> tuple[list[np.ndarray | None], str]:
    """Return an overlay for each image, or None for each and the reason where the network cannot be explained."""
    try:
        maps = heat_maps(loaded, pixels)
    except JobError as error:
        return [None] * len(pixels), first_line(error)
    return [overlay(image, heat) for image, heat in zip(pixels, maps)], ""


def _with_boxes(photo: np.ndarray, parts: list[Prepared]) -> np.ndarray:
    """Return the photo, of _LONGEST_EDGE px at most, with a numbered box around each face."""
    shrink = min(1.0, _LONGEST_EDGE / max(photo.shape[:2]))
    size = tuple(max(1, round(edge * shrink)) for edge in photo.shape[1::-1])
    image = np.ascontiguousarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA))
    line = max(2, min(image.shape[:2]) // 150)
    for number, part in enumerate(parts, 1):
        if part.face is None:
            continue
        face, colour = part.face, _COLOURS[(number - 1) % len(_COLOURS)]
        left, top = round(face.left * shrink), round(face.top * shrink)
        right, bottom = round((face.left + face.width) * shrink), round((face.top + face.height) * shrink)
        cv2.rectangle(image, (left, top), (right, bottom), colour, line)
        tab = max(18, (bottom - top) // 6)
        cv2.rectangle(image, (left, top), (left + tab * len(str(number)), top + tab), colour, -1)
        place = (left + tab // 5, top + tab * 4 // 5)
        cv2.putText(image, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, tab / 30, (255, 255, 255), 2)
    return image


def import_gradio() -> Any:
    """Return the module gradio, set to send nothing. Raises JobError when it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError:
        raise JobError("demo needs gradio: pip install --requirement requirements-demo.txt") from None
    return gradio


def build_page(loaded: Loaded, settings: CropSettings) -> Any:
    """Return the page as gradio's Blocks."""
    gradio = import_gradio()

    def predict(path: str | None) -> tuple[Any, ...]:
        if not path:
            return None, None, [], ""
        try:
            analysis = analyse(loaded, settings, path)
        except JobError as error:
            return None, None, [], plain(first_line(error))
        overlays = [(face.explained, face.title) for face in analysis.faces if face.explained is not None]
        notes = [plain(analysis.note)] if analysis.note else []
        if len(analysis.faces) > 1:
            found = "; ".join(plain(face.title) for face in analysis.faces)
            notes.append(f"{len(analysis.faces)} faces, the largest first: {found}. The probabilities are those of 1.")
        return analysis.photo, analysis.faces[0].probabilities, overlays, "\n\n".join(notes)

    title = f"{loaded.config.name}, step {loaded.step}"
    with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(60, _SECONDS)) as page:
        gradio.Markdown(f"# {plain(title)}\n\n{WARNING}\n\n{PRIVACY}")
        with gradio.Row():
            photo = gradio.Image(
                sources=["upload", "webcam", "clipboard"], type="filepath", image_mode=None, label="Photo", buttons=[]
            )
            boxes = gradio.Image(label="What was found", interactive=False, format="png", buttons=[])
        notes = gradio.Markdown()
        with gradio.Row():
            label = gradio.Label(label="Probabilities", num_top_classes=min(len(loaded.class_names), 10))
            explained = gradio.Gallery(label="Grad-CAM: what the prediction rests on", format="png", columns=3)
        photo.change(predict, photo, [boxes, label, explained, notes], api_name="predict")
    return page


@contextmanager
def serving(checkpoint: str | Path, port: int | None = None, face_model: str | None = None) -> Iterator[str]:
    """Serve the page of a checkpoint to this computer alone, and yield its address; photos are deleted at the end.

    `port` is by default the first free one from 7860. Raises JobError when the checkpoint cannot be used, gradio is
    missing or the port is taken.
    """
    gradio = import_gradio()
    loaded = load_model(checkpoint)
    settings = settings_of(loaded, face_model)
    loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(prefix="demo-") as photos:
        os.environ["GRADIO_TEMP_DIR"] = photos
        page = build_page(loaded, settings)
        try:
            _, address, _ = page.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                inbrowser=False,
                quiet=True,
                prevent_thread_lock=True,
                ssr_mode=False,
                footer_links=[],
                theme=gradio.themes.Base(**_FONTS),
            )
        except OSError as error:
            raise JobError(f"--port {port} cannot be used ({first_line(error)}): choose another") from None
        try:
            yield address
        finally:
            page.close(verbose=False)
