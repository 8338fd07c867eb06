"""A detector that OpenCV's `FaceDetectorYN` takes for YuNet, and faces that it finds.

The landmarks of such a face are dots of five pure colours. The network computes their centres by convolutions, so it
finds faces of any angle, exactly, and any number of them.
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from job.datasets import synthetic_faces

# The dots of eye, eye, nose, mouth, mouth (of a pair, first the one on the left of the image): place and colour (RGB).
PLACES = np.array([(0.36, 0.42), (0.64, 0.42), (0.5, 0.56), (0.42, 0.68), (0.58, 0.68)])
COLOURS = ((255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 255), (0, 255, 255))
_COLOUR_OF_DOT = np.array([(-1, -1, 1), (1, -1, -1), (-1, 1, -1), (0.5, -1, 0.5), (0.5, 0.5, -1)])  # weights of B, G, R
_DARK = (100, 100, 100, 200, 200)  # what is not more than this is not of the colour
_REACH = 14  # cells of 4 px around the middle of a face in which its dots lie


@cache
def face(number: int = 0, size: int = 200) -> np.ndarray:
    """A synthetic face uint8 [size, size, 3] with the five dots."""
    record = synthetic_faces.records(None, 3, train=20, val=20, test=20)[number]
    image = synthetic_faces.read(record, size).copy()
    for (x, y), colour in zip(PLACES * size, COLOURS):
        cv2.circle(image, (round(x), round(y)), size // 24, colour, -1)
    return image


def photo(faces, shape=(480, 640)) -> np.ndarray:
    """A grey photo uint8 [H, W, 3] with faces: (number, x and y of the middle in px, edge in px, degrees)."""
    image = np.full((*shape, 3), 90, np.uint8)
    for number, x, y, edge, degrees in faces:
        source = face(number)
        scale = edge / len(source)
        matrix = cv2.getRotationMatrix2D((len(source) / 2, len(source) / 2), degrees, scale)
        matrix[:, 2] += (x - len(source) / 2, y - len(source) / 2)
        turned = cv2.warpAffine(source, matrix, shape[::-1], flags=cv2.INTER_AREA)
        inside = cv2.warpAffine(np.full(source.shape[:2], 255, np.uint8), matrix, shape[::-1]) > 127
        image[inside] = turned[inside]
    return image


def dots_in(image: np.ndarray) -> np.ndarray:
    """Find the dots again: float64 [5, 2], as shares of the edges of an image."""
    found = []
    for weights, dark in zip(_COLOUR_OF_DOT, _DARK):
        level = np.maximum(image[:, :, ::-1].astype(float) @ weights - dark, 0)
        rows, columns = np.indices(level.shape)
        found.append(
            ((columns * level).sum() / level.sum() / image.shape[1], (rows * level).sum() / level.sum() / len(image))
        )
    return np.array(found)


def write_face_model(path: Path) -> Path:
    """Write the detector as ONNX, with the inputs and outputs of face_detection_yunet_2023mar.onnx."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nodes, weights = [], []

    def constant(name, value):
        weights.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    colour = constant("colour", _COLOUR_OF_DOT.reshape(5, 3, 1, 1))
    level = add("Conv", ["input", colour, constant("dark", np.negative(_DARK))], "level")
    cells = add("AveragePool", [add("Relu", [level], "dots")], "cells", kernel_shape=[4, 4], strides=[4, 4])
    side = np.arange(-_REACH, _REACH + 1) / 2 + 1.5 / 8  # strides of 8 px, from the cell to the centres of 4 px
    kernels = {"mass": np.ones((len(side), len(side))), "dx": np.tile(side, (len(side), 1))}
    kernels["dy"] = kernels["dx"].T
    for name, kernel in kernels.items():
        weight = constant(f"kernel_{name}", np.tile(kernel, (5, 1, 1, 1)))
        add("Conv", [cells, weight], name, group=5, strides=[2, 2], pads=[_REACH] * 4)
    mass = add("Add", ["mass", constant("little", [[[[1e-3]]]])], "mass_or_more")
    x, y = (add("Div", [name, mass], f"{name}_mean") for name in ("dx", "dy"))
    pairs = add("Concat", [x, y], "x_y", axis=1)
    order = np.zeros((10, 10, 1, 1))
    order[np.arange(10), np.arange(10) // 2 + np.arange(10) % 2 * 5] = 1
    add("Conv", [pairs, constant("order", order)], "kps")
    middle = np.zeros((2, 10, 1, 1))
    middle[0, :5], middle[1, 5:] = 0.2, 0.2
    add("Conv", [pairs, constant("middle_of_five", middle)], "middle")
    across = np.zeros((2, 10, 1, 1))
    across[0, :2, 0, 0], across[1, 5:7, 0, 0] = (-1, 1), (-1, 1)
    eyes = add("Conv", [pairs, constant("eye_to_eye", across)], "across")
    squared = add("Conv", [add("Mul", [eyes, eyes], "squares"), constant("both", np.ones((2, 2, 1, 1)))], "squared")
    log = add("Log", [add("Add", [squared, constant("positive", [[[[1e-3]]]])], "squared_or_more")], "log")
    half = add("Mul", [log, constant("half", [[[[0.5]]]])], "half_log")
    sides = add("Add", [half, constant("of_eyes", [[[[np.log(2.4)]]]])], "log_side")
    add("Concat", ["middle", sides], "bbox", axis=1)
    # A face has all five dots, and the cells next to its middle report it.
    present = add("Mul", ["mass", constant("enough", [[[[0.2]]]])], "scaled")
    present = add("Clip", [present, constant("zero", 0.0), constant("one", 1.0)], "present")
    missing = add("Conv", [present, constant("count", np.ones((1, 5, 1, 1))), constant("four", [-4.0])], "above_four")
    away = add(
        "Conv", [add("Abs", ["middle"], "abs"), constant("sum", -np.ones((1, 2, 1, 1))), constant("two", [2.0])], "near"
    )
    add("Mul", [add("Clip", [missing, "zero", "one"], "whole"), add("Clip", [away, "zero", "one"], "close")], "score")
    for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        source = "score" if channels == 1 else name
        for stride, pool in ((8, 1), (16, 2), (32, 4)):
            map_ = source
            if pool > 1:  # coarser cells report nothing
                small = add(
                    "AveragePool", [source], f"{name}_{stride}_pooled", kernel_shape=[pool] * 2, strides=[pool] * 2
                )
                map_ = add("Mul", [small, constant(f"{name}_{stride}_none", [[[[0.0]]]])], f"{name}_{stride}_map")
            rows = add("Transpose", [map_], f"{name}_{stride}_rows", perm=[0, 2, 3, 1])
            shape = numpy_helper.from_array(np.array([1, -1, channels], np.int64), f"{name}_{stride}_shape")
            weights.append(shape)
            add("Reshape", [rows, shape.name], f"{name}_{stride}")
    outputs = [
        helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, [1, (640 // stride) ** 2, channels])
        for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in (8, 16, 32)
    ]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "dots", [given], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
