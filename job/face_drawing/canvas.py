"""Draw on a supersampled canvas: anti-aliased shapes with subpixel vertices, soft blends, tiles of noise.

All arrays are uint8, where OpenCV is fastest; in a map of factors, 128 means unchanged.
"""

from functools import lru_cache

import cv2
import numpy as np

BITS = 4  # subpixel bits of vertices for OpenCV
UNCHANGED = 128
Colour = tuple[float, float, float]

# Noise tiles: blur (x, y) in pixels of a 128-pixel canvas, and amplitude as a share of UNCHANGED.
TILES = {
    "wall": ((8.0, 8.0), 0.2),
    "blotch": ((3.0, 3.0), 0.05),
    "pores": ((0.6, 0.9), 0.06),
    "bristle": ((0.6, 1.2), 0.33),
    "strand": ((0.8, 14.0), 0.16),
    "grain": ((0.0, 0.0), 0.1),
}


@lru_cache(maxsize=64)
def _spline(points: int, closed: bool, samples: int) -> np.ndarray:
    """Return the matrix [m, points] that maps control points to a Catmull-Rom curve through them."""
    rows = []
    for segment in range(points if closed else points - 1):
        for t in np.arange(samples) / samples:
            weights = 0.5 * np.array(
                (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            )
            row = np.zeros(points)
            for weight, offset in zip(weights, (-1, 0, 1, 2)):
                i = segment + offset
                row[i % points if closed else min(max(i, 0), points - 1)] += weight
            rows.append(row)
    if not closed:
        rows.append(np.eye(points)[-1])
    return np.array(rows)


def curve(points: np.ndarray, closed: bool = False, samples: int = 4) -> np.ndarray:
    """Return a smooth curve [m, 2] through control points [n, 2]."""
    return _spline(len(points), closed, samples) @ points


@lru_cache(maxsize=16)
def _tile(kind: str, size: int) -> np.ndarray:
    """Return noise around UNCHANGED, uint8 [2 size, 2 size]: a constant tile, of which callers take random windows."""
    (across, along), amplitude = TILES[kind]
    noise = np.random.Generator(np.random.Philox(7)).standard_normal((2 * size, 2 * size)).astype(np.float32)
    if across:
        noise = cv2.GaussianBlur(noise, (0, 0), across * size / 128, sigmaY=along * size / 128)
    return np.clip(UNCHANGED * (1 + amplitude * noise / noise.std()), 0, 255).astype(np.uint8)


def texture(kind: str, size: int, at: np.ndarray) -> np.ndarray:
    """Return a window [size, size] of the tile of `kind`; `at`, two numbers in [0, 1), is its position."""
    x, y = int(at[0] * size), int(at[1] * size)
    return _tile(kind, size)[y : y + size, x : x + size]


class Canvas:
    """RGB uint8 pixels [height, width, 3]; points and widths are in pixels."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels
        self.size = pixels.shape[:2]

    def fill(self, polygon: np.ndarray, colour: Colour) -> None:
        cv2.fillPoly(self.pixels, [fixed(polygon)], colour, cv2.LINE_AA, BITS)

    def stroke(self, line: np.ndarray, colour: Colour, width: float) -> None:
        cv2.polylines(self.pixels, [fixed(line)], False, colour, max(1, round(width)), cv2.LINE_AA, BITS)

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        disc(self.pixels, centre, radius, colour)

    def around(self, points: np.ndarray, margin: float) -> tuple["Canvas", np.ndarray]:
        """Return the part of this canvas around `points`, as a view, and the position of its corner."""
        low = np.maximum(np.floor(points.min(0) - margin), 0).astype(int)
        high = np.maximum(np.ceil(points.max(0) + margin).astype(int) + 1, low + 1)
        return Canvas(self.pixels[low[1] : high[1], low[0] : high[0]]), low

    def mask(self, *polygons: np.ndarray) -> np.ndarray:
        """Return opacity uint8 [height, width]: 255 inside the polygons."""
        mask = np.zeros(self.size, np.uint8)
        for polygon in polygons:
            cv2.fillPoly(mask, [fixed(polygon)], 255, cv2.LINE_AA, BITS)
        return mask

    def blend(self, opacity: np.ndarray, colour: Colour | np.ndarray) -> None:
        """Blend a colour, or an image of the same size, over the pixels with uint8 opacity [height, width]."""
        x, y, w, h = cv2.boundingRect(opacity)
        if w == 0:
            return
        here = self.pixels[y : y + h, x : x + w]
        if isinstance(colour, tuple):
            over = np.empty_like(here)
            over[:] = colour
        else:
            over = colour[y : y + h, x : x + w]
        weight = opacity[y : y + h, x : x + w] * np.float32(1 / 255)
        here[:] = cv2.blendLinear(over, here, weight, 1 - weight)

    def shade(self, factor: np.ndarray, mask: np.ndarray) -> None:
        """Multiply the pixels by uint8 `factor` / UNCHANGED where `mask` is set."""
        x, y, w, h = cv2.boundingRect(mask)
        if w == 0:
            return
        here = self.pixels[y : y + h, x : x + w]
        factor = cv2.cvtColor(np.ascontiguousarray(factor[y : y + h, x : x + w]), cv2.COLOR_GRAY2RGB)
        lit = cv2.multiply(here, factor, scale=1 / UNCHANGED)
        here[:] = cv2.copyTo(lit, mask[y : y + h, x : x + w], np.ascontiguousarray(here))


def disc(image: np.ndarray, centre: np.ndarray, radius: float, value: Colour | int) -> None:
    one = 1 << BITS
    cv2.circle(
        image, (round(centre[0] * one), round(centre[1] * one)), round(radius * one), value, -1, cv2.LINE_AA, BITS
    )


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.25 else image


def fixed(points: np.ndarray) -> np.ndarray:
    return (points * (1 << BITS) + 0.5).astype(np.int32)
