"""A checkpoint of an untrained network, as a run leaves it."""

import torch

from job.config.load import build_config
from job.methods.build import build_method
from job.run_folder.checkpoint import save_checkpoint

NAMES = ("neutral", "joy", "sadness", "surprise", "anger", "fear", "disgust")


def untrained(run, *, size=28, crop="center", quality=95, names=NAMES, **sections):
    """Save a checkpoint below runs folder `run`; its outputs depend strongly on the pixels."""
    content = {"name": run.name, "model": {"backbone": "mnist"}, "data": {"mean": "imagenet"}}
    config = build_config(content | sections, "test")
    network = build_method(config, size, len(names))
    with torch.no_grad():
        network.predict(torch.rand(8, 3, size, size))
        network.network.label_predictor[-1].weight *= 40
    folder = run / "checkpoints"
    folder.mkdir(parents=True)
    meta = {
        **{"class_names": names, "size": size, "quality": quality, "crop": crop, "step": 7},
        **{"config": config.model_dump(mode="json"), "manifest": "0" * 64, "wandb_id": "abcdef12", "scores": {}},
    }
    return save_checkpoint(folder, meta, network.state_dict(), {}).path
