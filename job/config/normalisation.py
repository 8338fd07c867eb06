"""Normalisations of images: what the published weights of a backbone expect."""

from collections.abc import Mapping
from typing import Any

Triple = tuple[float, float, float]

IMAGENET: dict[str, Triple] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF: dict[str, Triple] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
BACKBONE = "backbone"  # data.mean: the value of the backbone
_TIMM = "timm/"


def normalisation_of(backbone: str) -> dict[str, Triple]:
    """Return `mean` and `std` with which the published weights of a backbone were trained.

    Those of ArcFace (iresnet) and networks without published weights: one half. timm: its own table, by tag.
    """
    if backbone in ("compact", "mnist", "svhn") or backbone.startswith("iresnet"):
        return HALF
    if not backbone.startswith(_TIMM):
        return IMAGENET
    import timm

    try:
        known = timm.get_pretrained_cfg(backbone.removeprefix(_TIMM))
    except RuntimeError:  # a tag that does not exist, which building the network reports
        known = None
    if known is None:
        return IMAGENET
    mean, std = ((float(r), float(g), float(b)) for r, g, b in (known.mean, known.std))
    return {"mean": mean, "std": std}


def with_normalisation(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of nested dictionaries, in which `data.mean` and `data.std` have values.

    Those of the backbone replace `backbone` and, for a backbone of timm, missing values.
    """
    model, data = content.get("model"), content.get("data") or {}
    backbone = model.get("backbone") if isinstance(model, Mapping) else None
    if not isinstance(data, Mapping):
        return dict(content)
    name = backbone if isinstance(backbone, str) else "compact"
    unset = BACKBONE if name.startswith(_TIMM) else None
    wanted = [key for key in HALF if data.get(key, unset) == BACKBONE]
    if not wanted:
        return dict(content)
    usual = normalisation_of(name)
    return {**content, "data": {**data, **{key: usual[key] for key in wanted}}}
