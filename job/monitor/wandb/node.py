"""System metrics of the other nodes, in W&B's shared mode: one process of each joins the main rank's run."""

import logging
import os
import platform

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from job.config.schema import Config
from job.system.secrets import brief

log = logging.getLogger("job")


class NodeMonitor:
    """Nothing but the readings of this node's processors, memory and GPUs, under a label of its own.

    Only with `wandb.every_node`, online, and on the first process of every node but the main one's. All ranks make one.
    """

    def __init__(self, config: Config, accelerator: Accelerator, identity: str | None, mode: str) -> None:
        self._run = None
        if not config.wandb.every_node:
            return
        main = [identity, mode]
        broadcast_object_list(main)
        identity, mode = main
        # started by Slurm with a GPU each, all of a node's call themselves the first
        first = accelerator.is_local_main_process and os.environ.get("SLURM_LOCALID", "0") == "0"
        first_of_its_node = first and not accelerator.is_main_process
        if mode != "online" or not first_of_its_node:
            return
        try:
            import wandb

            self._run = wandb.init(
                id=identity,
                project=config.wandb.project,
                entity=config.wandb.entity,
                mode="shared",
                dir=config.run_folder,
                settings=wandb.Settings(
                    silent=True,
                    init_timeout=min(60, config.train.timeout_seconds // 3),
                    finish_timeout=30,
                    x_label=platform.node(),
                    x_primary=False,  # neither files nor the run's end are this process's to tell
                    x_update_finish_state=False,
                    disable_git=True,
                    save_code=False,
                    console="off",
                ),
            )
        except Exception as error:
            log.error("W&B: no system metrics of node %s (%s)", platform.node(), brief(error))

    def close(self) -> None:
        if self._run is not None:
            try:
                self._run.finish()
            except Exception as error:
                log.debug("W&B of node %s: %s", platform.node(), brief(error))
