"""System metrics of other nodes: in W&B's shared mode, one process of each node joins the run of the main rank."""

import logging
import os
import platform

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from job.config.schema import Config
from job.system.secrets import brief

log = logging.getLogger("job")


class NodeMonitor:
    """Send system metrics of this node (CPUs, memory, GPUs) to W&B under the name of the node.

    Active only online, with `wandb.every_node`, on the first process of each node except that of the main rank. The
    constructor is collective: all ranks must call it.
    """

    def __init__(self, config: Config, accelerator: Accelerator, identity: str | None, mode: str) -> None:
        self._run = None
        if not config.wandb.every_node:
            return
        main = [identity, mode]
        broadcast_object_list(main)
        identity, mode = main
        # under srun with one GPU per task, LOCAL_RANK is 0 in each process of a node
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
                    x_primary=False,  # the main rank uploads files and sets the state of the run
                    x_update_finish_state=False,
                    disable_git=True,
                    save_code=False,
                    console="off",
                ),
            )
        except Exception as error:
            log.error("W&B: no system metrics of node %s (%s)", platform.node(), brief(error))

    def close(self) -> None:
        """Leave the run."""
        if self._run is not None:
            try:
                self._run.finish()
            except Exception as error:
                log.debug("W&B of node %s: %s", platform.node(), brief(error))
