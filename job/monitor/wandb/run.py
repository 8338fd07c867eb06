"""Weights & Biases: one run id for life, offline without a key or a network, never a reason for the training to end."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job.config.schema import Config
from job.metric_names import STEP
from job.monitor.background import Background
from job.monitor.wandb.key import mode
from job.monitor.wandb.media import Samples, face_table, images
from job.run_folder.environment import slurm
from job.system.secrets import brief, scrub, scrub_all

log = logging.getLogger("job")
PATIENCE = 60  # most seconds to reach the server at the start
LOOK_EVERY = 30.0  # seconds between looks at the disk
LEAST_FREE = 2**20  # bytes
FINISH = 60  # most seconds to upload what is left at the end; the rest stays on disk for launch/sync.sh


class WandbRun:
    """The calls to W&B. After the first that fails it says so once and does nothing any more.

    A server that cannot be reached at the start, or that refuses the key, makes the run an offline one.
    """

    def __init__(self, config: Config, folder: Path, identity: str, facts: dict[str, Any]) -> None:
        self._run = None
        self._extras = Background()
        self._limit = config.train.timeout_seconds // 3  # seconds; while W&B is waited for, the other ranks wait too
        self._told_full, self._looked_at = False, -LOOK_EVERY
        self._settings, self._folder = config.wandb, folder
        self.mode = mode(config.wandb)
        if self.mode == "disabled":
            return
        staging = (folder / "wandb").absolute()  # what a later sync sends must not lie in a temporary folder
        os.environ.setdefault("WANDB_DATA_DIR", str(staging))
        with _Guard(self, "start"):
            if self.mode != "offline":
                try:
                    self._run = self._start(config, folder, identity, facts)
                except Exception as error:
                    log.warning(
                        "W&B cannot be used online (%s): recording offline; upload later with launch/sync.sh %s",
                        brief(error),
                        folder,
                    )
                    self.mode = "offline"
                    _let_go()
            if self._run is None:
                self._run = self._start(config, folder, identity, facts)
            self._run.define_metric(STEP)
            # never step=: it cannot go back on resume. No summary="max": that would rename the entries of the summary
            self._run.define_metric("*", step_metric=STEP)
            log.info("W&B: %s, run id %s", self.mode, identity)

    def _start(self, config: Config, folder: Path, identity: str, facts: dict[str, Any]):
        import wandb

        given = config.wandb
        content = config.stored() | {"facts": facts}
        shared = given.every_node and self.mode == "online"
        return wandb.init(
            id=identity,
            resume="allow",
            dir=folder,
            mode="shared" if shared else self.mode,
            name=config.name,
            config=scrub_all(content),
            project=given.project,
            entity=given.entity,
            group=given.group or config.objective.name,
            job_type=given.job_type or "train",
            tags=tags(config),
            notes=notes(config, facts),
            settings=wandb.Settings(
                silent=True,
                init_timeout=min(PATIENCE, self._limit),
                finish_timeout=min(FINISH, self._limit),
                finish_timeout_raises=True,
                disable_git=True,  # a diff or a remote's address may hold anything; the commit is among the facts
                save_code=False,
                x_label=facts.get("host") if shared else None,
            ),
        )

    def log(self, metrics: dict[str, Any]) -> None:
        if self._run is not None:
            self._look_at_disk()
            with _Guard(self, "log"):
                self._run.log(metrics)

    def _look_at_disk(self) -> None:
        """Say once that the disk is full: the service that writes keeps it to itself."""
        now = time.monotonic()
        if self._told_full or now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        try:
            free = shutil.disk_usage(self._folder / "wandb").free
        except OSError:
            return
        if free < LEAST_FREE:
            self._told_full = True
            log.warning(
                "W&B loses what it is told now: the disk of %s is full; free space there", self._folder / "wandb"
            )

    def alert(self, title: str, text: str, level: str) -> None:
        if self._run is not None:
            with _Guard(self, "alert"):
                self._run.alert(title[:64], text, level)

    def figures(self, step: int, paths: dict[str, Path]) -> None:
        """Log the figures that were drawn of `step`."""
        self._log_extra("figures", step, lambda: images(paths))

    def samples(self, samples: Samples) -> None:
        """Log what an evaluation kept: tables of faces."""
        self._log_extra("tables", samples.step, lambda: face_table(samples))

    def _log_extra(self, what: str, step: int, content: Callable[[], dict[str, Any]]) -> None:
        run = self._run
        if run is not None:
            self._extras.do(what, lambda: run.log({STEP: step, **content()}))

    def artifacts(self, checkpoint: Path, meta: dict[str, Any], manifest: Path | None) -> None:
        """The weights of a checkpoint with its scores, and the manifest of the data that they were learnt from."""
        run = self._run

        def give() -> None:
            import wandb

            told = {key: meta[key] for key in ("step", "scores", "fingerprint", "manifest", "class_names", "size")}
            model = wandb.Artifact(f"model-{run.id}", type="model", metadata=scrub_all(told))
            for name in ("model.safetensors", "meta.json"):
                # not copied: the best checkpoint stays where it is
                model.add_file(str(checkpoint.resolve() / name), name=name, policy="immutable", skip_cache=True)
            run.log_artifact(model, aliases=["best", f"step-{meta['step']}"])
            if manifest is not None:
                data = wandb.Artifact(f"shards-{meta['manifest'][:12]}", type="dataset")
                data.add_file(str(manifest.absolute()), policy="immutable", skip_cache=True)
                run.log_artifact(data)

        if run is not None and self._settings.artifacts:
            self._extras.do("artifacts", give)

    def summarise(self, metrics: dict[str, Any]) -> None:
        if self._run is not None:
            with _Guard(self, "summarise"):
                self._run.summary.update(metrics)

    def finish(self, exit_code: int) -> None:
        """Flush. To be called on every way out: the tail of an offline log that is not finished is lost."""
        run = self._run
        if run is None:
            return
        self._extras.close(self._limit)
        self._run = None
        segment = Path(run.dir).parent if self.mode == "online" else None
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            log.warning("W&B was not sent everything: it is on disk; upload it with launch/sync.sh %s", self._folder)
            with contextlib.suppress(OSError, AttributeError):
                (segment / "not_uploaded").touch()  # for launch/sync.sh
            _let_go()
        except Exception as error:
            if not self._told_full:
                log.warning("W&B failed to finish (%s); the run is not affected", brief(error))


def tags(config: Config) -> list[str]:
    """The configured tags, the method and the network, and Slurm's job."""
    found = [*config.wandb.tags, config.objective.name, config.model.backbone]
    if "job_id" in slurm():
        found.append(f"slurm-{slurm()['job_id']}")
    return [tag[:64] for tag in dict.fromkeys(found)]


def notes(config: Config, facts: dict[str, Any]) -> str:
    """The configured notes, then code version and place in a line."""
    names = {"code_version": "code", "slurm_job_id": "Slurm job", "slurm_nodes": "nodes", "host": "host"}
    told = ", ".join(f"{name} {facts[key]}" for key, name in names.items() if key in facts)
    return scrub("\n".join(filter(None, [config.wandb.notes, told])))


def _let_go() -> None:
    """End the service process of W&B, which holds the id of a run that could not be started."""
    import wandb

    try:
        wandb.teardown()
    except Exception as error:
        log.debug("W&B teardown: %s", brief(error))


class _Guard:
    def __init__(self, owner: WandbRun, what: str) -> None:
        self._owner, self._what = owner, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self._owner._run = None
        log.warning("W&B failed to %s (%s); going on without it", self._what, brief(error))
        if isinstance(error, ConnectionError):  # its service process has died: no farewell to it at exit
            _let_go()
        return True
