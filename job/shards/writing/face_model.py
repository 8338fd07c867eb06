"""Find the ONNX file of the face detector that gives landmarks: by path, or fetched once and checked by its SHA-256."""

import hashlib
import os
from pathlib import Path

from job.shards.alignment import Alignment
from job.shards.remote import RemoteError, read_remote
from job.system.errors import JobError
from job.system.files import read_regular, sha256_of, write_atomically

CASCADE, YUNET = "cascade", "yunet"  # values of --face-model; any other is the path of an ONNX file
# Published in OpenCV's model zoo under the MIT licence. The file decides, not the address: others may be added.
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
NAME = "face_detection_yunet_2023mar.onnx"
URLS = (
    f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{NAME}",
    f"https://huggingface.co/opencv/face_detection_yunet/resolve/main/{NAME}",
)
CACHE = "~/.cache/job/face_models"
_MOST_BYTES = 16 << 20  # the published file has 232,589


def find_model(face_model: str) -> tuple[Alignment, Path] | None:
    """Return the alignment for `--face-model` and the path of its detector; None for the cascade.

    The file is copied to the cache, by its SHA-256, so that `predict` finds it again. Raises JobError when it cannot be
    read or fetched.
    """
    if face_model == CASCADE:
        return None
    if face_model == YUNET:
        return Alignment(sha256=SHA256), _fetched()
    path = Path(face_model)
    try:
        content = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise JobError(
            f"--face-model {face_model}: {error.strerror}; give {CASCADE}, {YUNET} or the path of {NAME}"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    return Alignment(sha256=digest), _store(content, digest, fallback=path)


def model_of(alignment: Alignment, face_model: str | None = None) -> Path:
    """Return the path of the detector that an alignment was made with: `face_model`, else the cache, else fetched.

    Raises JobError when the file at `face_model` is another one, or there is none.
    """
    if face_model not in (None, YUNET):
        path = Path(face_model)
        try:
            digest = sha256_of(path)
        except OSError as error:
            raise JobError(f"--face-model {face_model}: {error.strerror}") from None
        if digest != alignment.sha256:
            raise JobError(
                f"--face-model {face_model} has the SHA-256 {digest[:12]}..., and the training images were aligned "
                f"with {alignment.sha256[:12]}...: give that file"
            )
        return path
    cached = _cached(alignment.sha256)
    if cached is not None:
        return cached
    if alignment.sha256 == SHA256:
        return _fetched()
    raise JobError(
        f"the training images were aligned with a face detector of SHA-256 {alignment.sha256}, which is not in "
        f"{CACHE}: give its ONNX file as --face-model"
    )


def _fetched() -> Path:
    """Return the published detector from the cache, or fetch it. Raises JobError when no address gives the file."""
    cached = _cached(SHA256)
    if cached is not None:
        return cached
    reasons = []
    for url in URLS:
        try:
            content = b"".join(read_remote(url, _MOST_BYTES))
        except (RemoteError, OSError) as error:
            reasons.append(f"{url}: {error}")
            continue
        if hashlib.sha256(content).hexdigest() == SHA256:
            return _store(content, SHA256)
        reasons.append(f"{url}: its content has another SHA-256")
    raise JobError(
        f"cannot fetch the face detector ({'; '.join(reasons)}): download {NAME} on another machine and give its path "
        f"as --face-model, or use --face-model {CASCADE}"
    )


def _folder() -> Path:
    return Path(CACHE).expanduser()


def _cached(digest: str) -> Path | None:
    """Return the path of a complete file in the cache."""
    path = _folder() / f"{digest}.onnx"
    try:
        return path if sha256_of(path) == digest else None
    except OSError:
        return None


def _store(content: bytes, digest: str, fallback: Path | None = None) -> Path:
    """Write the file to the cache; return its path, or `fallback` if the cache cannot be written."""
    path = _folder() / f"{digest}.onnx"
    if _cached(digest) is None:
        try:
            os.makedirs(path.parent, exist_ok=True)
            write_atomically(path, content)
        except OSError as error:
            if fallback is not None:
                return fallback.resolve()
            raise JobError(f"cannot write {path} ({error.strerror}): give the path of {NAME} as --face-model") from None
    return path
