"""`python -m job export`: write the network of a checkpoint as one ONNX file and check that both agree."""

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from job.evaluation.load import Loaded, load_model
from job.shards.reading.augment import standardised
from job.shards.writing.crop import CLOSEST_EYES, LARGEST_CROP
from job.shards.writing.encode import subsampling
from job.shards.writing.face_detector import CASCADE, MARGIN, SEARCH_EDGE, SMALLEST_FACE
from job.system.errors import JobError, first_line
from job.system.files import atomic_path, check_output, writing

INPUT, OUTPUT = "images", "probabilities"
TOLERANCE = 1e-4  # largest difference of a probability


class Classifier(nn.Module):
    """Map RGB images float32 [n, 3, S, S] with values in [0, 1] to class probabilities float32 [n, C].

    Normalisation is part of the module, so that users need not know the mean. The domain classifier is left out.
    """

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.method = loaded.model
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(loaded.config.data, name)).view(1, 3, 1, 1))
        self.standardize = loaded.config.data.standardize

    def forward(self, images: Tensor) -> Tensor:
        normalised = (images - self.mean) / self.std
        if self.standardize:
            normalised = standardised(normalised)
        return self.method.predict(normalised).class_logits.softmax(1)


def export(checkpoint: Path, out: Path) -> float:
    """Write an ONNX file for any batch size; return the largest difference of a probability from the network.

    The metadata of the file (`class_names`, `size`, `crop`, ...) says how to prepare images. Raise JobError when the
    checkpoint or the output path cannot be used, a package is missing, torch cannot export the network, or the
    probabilities differ by more than TOLERANCE.
    """
    _check_packages()
    if out.suffix != ".onnx":
        raise JobError(f"--out {out}: the name must end in .onnx")
    check_output("--out", out)
    loaded = load_model(checkpoint)
    classifier = Classifier(loaded).eval()
    program = _trace(classifier, loaded)
    program.model.metadata_props.update(_metadata(loaded))
    with writing(out, "choose another --out, or make room"), atomic_path(out) as partial:
        program.save(partial, external_data=False)
        difference = _difference(partial, classifier, loaded.size)
        if not difference <= TOLERANCE:
            raise JobError(
                f"the ONNX form of {loaded.config.model.backbone} does not match the network (a "
                f"probability differs by {difference:.2g}): please report it, with the versions of torch and onnxscript"
            )
    return difference


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise JobError(f"export needs {error.name}: pip install onnx onnxscript onnxruntime") from None


def _trace(classifier: Classifier, loaded: Loaded) -> "torch.onnx.ONNXProgram":
    example = torch.rand(2, 3, loaded.size, loaded.size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        # the exporter prints many lines, also on stdout, that do not help a user
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                classifier,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                verbose=False,
            )
    except Exception as error:  # the exporter raises its own errors, which differ between versions
        reason = first_line(error)
        raise JobError(
            f"torch {torch.__version__} cannot export {loaded.config.model.backbone} to ONNX ({reason[:200]}): "
            "use another version of torch, or predict with `python -m job predict`"
        ) from error


def _metadata(loaded: Loaded) -> dict[str, str]:
    """Return how to prepare a photo as `predict` does, and where the weights come from; see docs/export.md."""
    data = loaded.config.data
    metadata = {
        "class_names": json.dumps(loaded.class_names),
        "size": str(loaded.size),
        "crop": loaded.crop,
        "interpolation_when_smaller": "area",  # when the shorter edge is longer than size
        "interpolation_otherwise": "cubic",
        "jpeg_quality": str(loaded.quality),
        "jpeg_subsampling": subsampling(loaded.gray),
        "channel_order": "RGB",
        "input": f"RGB, float32 [n, 3, {loaded.size}, {loaded.size}], values in [0, 1]",
        "normalisation": "inside",
        "mean": json.dumps(data.mean),
        "std": json.dumps(data.std),
        "standardize": json.dumps(data.standardize),
        "backbone": loaded.config.model.backbone,
        "run": loaded.config.name,
        "step": str(loaded.step),
    }
    if loaded.crop == "face" and loaded.alignment is not None:
        alignment = loaded.alignment
        metadata |= {
            "face_detector": alignment.detector,
            "face_model_sha256": alignment.sha256,
            "face_search_edges": json.dumps(alignment.search_edges),
            "face_least_score": str(alignment.least_score),
            "face_eye_distance": str(alignment.eye_distance),
            "face_eye_height": str(alignment.eye_height),
            "face_turned": str(alignment.turned),
            "face_closest_eyes": str(CLOSEST_EYES),
            "face_largest_crop": str(LARGEST_CROP),
        }
    elif loaded.crop == "face":
        metadata |= {
            "face_detector": CASCADE,
            "face_search_edge": str(SEARCH_EDGE),
            "face_smallest_share": str(SMALLEST_FACE),
            "face_margin": str(MARGIN),
        }
    return metadata


@torch.inference_mode()
def _difference(path: Path, classifier: Classifier, size: int) -> float:
    """Return the largest difference of a probability between the file and the network, on random images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    differences = [0.0]
    for batch in (images, images[:1]):
        (output,) = session.run([OUTPUT], {INPUT: batch.numpy()})
        differences.append(float(np.abs(output - classifier(batch).numpy()).max()))
    return max(differences)
