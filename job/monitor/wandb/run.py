"""Weights & Biases: one id per run, offline without a key or network. Its failures never stop training."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job.config.objectives import method_label
from job.config.schema import Config
from job.metric_names import STEP
from job.monitor.background import Background
from job.monitor.wandb.key import mode
from job.monitor.wandb.media import Samples, face_table, images
from job.run_folder.environment import slurm
from job.system.secrets import brief, scrub, scrub_all

log = logging.getLogger("job")
PATIENCE = 60  # seconds to reach the server at the start, at most
LOOK_EVERY = 30.0  # seconds between checks of the free disk space
LEAST_FREE = 2**20  # bytes
FINISH = 60  # seconds to upload the rest at the end, at most; launch/sync.sh uploads what is left


class WandbRun:
    """The calls to W&B. After the first failure, log one warning and do nothing more.

    When the server cannot be reached at the start, or refuses the key, the run is recorded offline.
    """

    def __init__(self, config: Config, folder: Path, identity: str, facts: dict[str, Any]) -> None:
        self._run = None
        self._extras = Background()
        self._limit = config.train.timeout_seconds // 3  # seconds; the other ranks wait meanwhile
        self._warned_full, self._checked_at = False, -LOOK_EVERY
        self._settings, self._folder = config.wandb, folder
        self.mode = mode(config.wandb)
        if self.mode == "disabled":
            return
        staging = (folder / "wandb").absolute()  # not a temporary folder: a later sync sends these files
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
                    _teardown()
            if self._run is None:
                self._run = self._start(config, folder, identity, facts)
            self._run.define_metric(STEP)
            # never step=: it cannot go back on resume. No summary="max": it would rename entries of the summary
            self._run.define_metric("*", step_metric=STEP)
            log.info("W&B: %s, run id %s", self.mode, identity)

    def _start(self, config: Config, folder: Path, identity: str, facts: dict[str, Any]):
        import wandb

        wandb_config = config.wandb
        content = config.stored() | {"facts": facts}
        shared = wandb_config.every_node and self.mode == "online"
        return wandb.init(
            id=identity,
            resume="allow",
            dir=folder,
            mode="shared" if shared else self.mode,
            name=config.name,
            config=scrub_all(content),
            project=wandb_config.project,
            entity=wandb_config.entity,
            group=wandb_config.group or config.objective.name,
            job_type=wandb_config.job_type or "train",
            tags=tags(config),
            notes=notes(config, facts),
            settings=wandb.Settings(
                silent=True,
                init_timeout=min(PATIENCE, self._limit),
                finish_timeout=min(FINISH, self._limit),
                finish_timeout_raises=True,
                disable_git=True,  # diffs and remote URLs may contain secrets; the facts include the commit
                save_code=False,
                x_label=facts.get("host") if shared else None,
            ),
        )

    def log(self, metrics: dict[str, Any]) -> None:
        """Log a row of metrics."""
        if self._run is not None:
            self._check_disk()
            with _Guard(self, "log"):
                self._run.log(metrics)

    def _check_disk(self) -> None:
        """Log one warning when the disk is full: the W&B service does not report it."""
        now = time.monotonic()
        if self._warned_full or now - self._checked_at < LOOK_EVERY:
            return
        self._checked_at = now
        try:
            free = shutil.disk_usage(self._folder / "wandb").free
        except OSError:
            return
        if free < LEAST_FREE:
            self._warned_full = True
            log.warning("W&B loses data from now on: the disk of %s is full; free space there", self._folder / "wandb")

    def alert(self, title: str, text: str, level: str) -> None:
        """Send an alert; W&B may mail it."""
        if self._run is not None:
            with _Guard(self, "alert"):
                self._run.alert(title[:64], text, level)

    def figures(self, step: int, paths: dict[str, Path]) -> None:
        """Log the figures of `step`."""
        self._log_extra("figures", step, lambda: images(paths))

    def samples(self, samples: Samples) -> None:
        """Log the samples of an evaluation as tables of images."""
        self._log_extra("tables", samples.step, lambda: face_table(samples))

    def _log_extra(self, what: str, step: int, content: Callable[[], dict[str, Any]]) -> None:
        run = self._run
        if run is not None:
            self._extras.do(what, lambda: run.log({STEP: step, **content()}))

    def artifacts(self, checkpoint: Path, meta: dict[str, Any], manifest: Path | None) -> None:
        """Upload the weights of a checkpoint with its scores, and the manifest of the training data."""
        run = self._run

        def upload() -> None:
            import wandb

            metadata = {key: meta[key] for key in ("step", "scores", "fingerprint", "manifest", "class_names", "size")}
            model = wandb.Artifact(f"model-{run.id}", type="model", metadata=scrub_all(metadata))
            for name in ("model.safetensors", "meta.json"):
                # skip_cache: no copy, the best checkpoint stays in place
                model.add_file(str(checkpoint.resolve() / name), name=name, policy="immutable", skip_cache=True)
            run.log_artifact(model, aliases=["best", f"step-{meta['step']}"])
            if manifest is not None:
                data = wandb.Artifact(f"shards-{meta['manifest'][:12]}", type="dataset")
                data.add_file(str(manifest.absolute()), policy="immutable", skip_cache=True)
                run.log_artifact(data)

        if run is not None and self._settings.artifacts:
            self._extras.do("artifacts", upload)

    def summarise(self, metrics: dict[str, Any]) -> None:
        """Set the summary of the run."""
        if self._run is not None:
            with _Guard(self, "summarise"):
                self._run.summary.update(metrics)

    def finish(self, exit_code: int) -> None:
        """Flush and finish. Call it on every exit path: otherwise the tail of an offline log is lost."""
        run = self._run
        if run is None:
            return
        self._extras.close(self._limit)
        self._run = None
        segment = Path(run.dir).parent if self.mode == "online" else None
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            log.warning(
                "the upload to W&B is incomplete: the rest is on disk; upload it with launch/sync.sh %s", self._folder
            )
            with contextlib.suppress(OSError, AttributeError):
                (segment / "not_uploaded").touch()  # for launch/sync.sh
            _teardown()
        except Exception as error:
            if not self._warned_full:
                log.warning("W&B failed to finish (%s); training is not affected", brief(error))


def tags(config: Config) -> list[str]:
    """Return the configured tags, the method (also with its terms, as dann+mcc), the network and the Slurm job."""
    method = method_label(config.objective.model_dump())
    all_tags = [*config.wandb.tags, config.objective.name, method, config.model.backbone]
    if "job_id" in slurm():
        all_tags.append(f"slurm-{slurm()['job_id']}")
    return [tag[:64] for tag in dict.fromkeys(all_tags)]


def notes(config: Config, facts: dict[str, Any]) -> str:
    """Return the configured notes and a line with the code version, the Slurm job and the host."""
    names = {"code_version": "code", "slurm_job_id": "Slurm job", "slurm_nodes": "nodes", "host": "host"}
    origin = ", ".join(f"{name} {facts[key]}" for key, name in names.items() if key in facts)
    return scrub("\n".join(filter(None, [config.wandb.notes, origin])))


def _teardown() -> None:
    """Stop the W&B service process, which keeps the id of a run that failed to start."""
    import wandb

    try:
        wandb.teardown()
    except Exception as error:
        log.debug("W&B teardown: %s", brief(error))


class _Guard:
    """Context manager that turns an error of W&B into one warning, after which W&B is not used any more."""

    def __init__(self, owner: WandbRun, what: str) -> None:
        self._owner, self._what = owner, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self._owner._run = None
        log.warning("W&B failed to %s (%s); training continues without it", self._what, brief(error))
        if isinstance(error, ConnectionError):  # its service process has died: do not contact it at exit
            _teardown()
        return True
