"""`python -m job export`: write the network of a checkpoint as one file, ONNX or torch.export, and check it."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from job.evaluation.load import Loaded, load_model
from job.models.photo_input import PhotoInput
from job.shards.reading.augment import standardised
from job.shards.writing.crop import CLOSEST_EYES, LARGEST_CROP
from job.shards.writing.encode import subsampling
from job.shards.writing.face_detector import CASCADE, MARGIN, SEARCH_EDGE, SMALLEST_FACE
from job.system.errors import JobError, first_line
from job.system.files import atomic_path, check_output, writing

INPUT, OUTPUT = "images", "probabilities"
TOLERANCE = 1e-4  # largest difference of a probability
PHOTO_TOLERANCE = 5e-3  # where the file rounds pixels: sums in another order can round to the next value
METADATA = "metadata.json"  # name of the metadata in a .pt2 file


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


class PhotoClassifier(nn.Module):
    """Map RGB photos uint8 [n, H, W, 3] of any height and width to class probabilities float32 [n, C]."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.prepare = PhotoInput(loaded.size, loaded.crop, loaded.quality, loaded.gray)
        self.classify = Classifier(loaded)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.prepare(images))


def export(checkpoint: str | Path, out: Path, preprocess: bool = False) -> float:
    """Write a file for any batch size; return the largest difference of a probability from the network.

    `out` ends in .onnx, or in .pt2 for `torch.export`. The metadata of the file (`class_names`, `size`, `crop`, ...)
    says how to prepare images; with `preprocess` the file crops and resizes photos of any size itself. Raise JobError
    when the checkpoint or the output path cannot be used, a package is missing, torch cannot export the network, or the
    probabilities differ by more than TOLERANCE, with `preprocess` PHOTO_TOLERANCE.
    """
    if out.suffix not in WRITERS:
        raise JobError(
            f"--out {out}: give a name that ends in {' or '.join(WRITERS)}, or one without an ending for a folder"
        )
    form, write, run = WRITERS[out.suffix]
    if out.suffix == ".onnx":
        _check_packages()
    check_output("--out", out)
    loaded = load_model(checkpoint)
    classifier = (PhotoClassifier(loaded) if preprocess else Classifier(loaded)).eval()
    metadata = _metadata(loaded)
    if preprocess:
        metadata |= {"input": "RGB, uint8 [n, height, width, 3], of any height and width", "preprocessing": "inside"}
    with writing(out, "choose another --out, or make room"), atomic_path(out) as partial:
        write(classifier, loaded, metadata, partial)
        difference = _difference(run(partial), classifier, _examples(loaded.size, preprocess))
        if not difference <= (PHOTO_TOLERANCE if preprocess else TOLERANCE):
            raise JobError(
                f"the {form} form of {loaded.config.model.backbone} does not match the network (a "
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


def _examples(size: int, preprocess: bool) -> list[Tensor]:
    """Return batches of random inputs: two batch sizes and, for photos, two shapes."""
    generator = torch.Generator().manual_seed(0)
    if not preprocess:
        images = torch.rand(5, 3, size, size, generator=generator)
        return [images, images[:1]]
    shapes = ((2, 2 * size + 5, 3 * size + 1, 3), (1, size, size // 2 + 1, 3))
    return [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for shape in shapes]


def _dimensions(example: Tensor) -> tuple[dict[int, "torch.export.Dim"]]:
    photo = example.dtype == torch.uint8
    names = ("n", "height", "width") if photo else ("n",)
    return ({axis: torch.export.Dim(name) for axis, name in enumerate(names)},)


@contextlib.contextmanager
def _exporting(loaded: Loaded, form: str) -> Iterator[None]:
    """Turn errors of the exporter into a JobError, and keep it quiet."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        # the exporter prints many lines, also on stdout, that do not help a user
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # the exporter raises its own errors, which differ between versions
        reason = first_line(error)
        raise JobError(
            f"torch {torch.__version__} cannot export {loaded.config.model.backbone} to {form} ({reason[:200]}): "
            "use another version of torch, or predict with `python -m job predict`"
        ) from error


def _write_onnx(classifier: nn.Module, loaded: Loaded, metadata: dict[str, str], out: Path) -> None:
    example = _examples(loaded.size, isinstance(classifier, PhotoClassifier))[0]
    with _exporting(loaded, "ONNX"):
        program = torch.onnx.export(
            classifier,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=_dimensions(example),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(out, external_data=False)


def _write_program(classifier: nn.Module, loaded: Loaded, metadata: dict[str, str], out: Path) -> None:
    example = _examples(loaded.size, isinstance(classifier, PhotoClassifier))[0]
    with _exporting(loaded, "torch.export"), open(out, "wb") as file:
        program = torch.export.export(classifier, (example,), dynamic_shapes=_dimensions(example))
        torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})


def _run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


def _run_program(path: Path) -> Callable[[Tensor], Tensor]:
    with open(path, "rb") as file:
        return torch.export.load(file).module()


# by the ending of the file: name, function that writes it, function that returns it as a function of the images
WRITERS = {
    ".onnx": ("ONNX", _write_onnx, _run_onnx),
    ".pt2": ("torch.export", _write_program, _run_program),
}


def _metadata(loaded: Loaded) -> dict[str, str]:
    """Return how to prepare a photo as `predict` does, and where the weights come from; see docs/export.md."""
    data = loaded.config.data
    metadata = {
        "class_names": json.dumps(loaded.class_names),
        "size": str(loaded.size),
        "crop": loaded.crop,
        "interpolation_when_smaller": "area",  # when the shorter edge is longer than size
        "interpolation_otherwise": "cubic",
        "jpeg_scaling": str(loaded.jpeg_scaling),
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
def _difference(run: Callable[[Tensor], Tensor], classifier: nn.Module, examples: list[Tensor]) -> float:
    """Return the largest difference of a probability between the file and the network."""
    return max(float((run(images) - classifier(images)).abs().max()) for images in examples)
