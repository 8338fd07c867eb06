"""What other programs left in the environment."""

import os
from collections.abc import Mapping

from job.doctor.findings import FAIL, OK, WARN, Finding
from job.system.errors import JobError
from job.system.foreign_environment import clean_environment


def environment(variables: Mapping[str, str] = os.environ) -> Finding:
    """Which variables training would refuse, or ignore with a warning."""
    try:
        # under srun every task belongs to a world of its own making, which says nothing about training
        ignored = clean_environment(dict(variables), distributed="SLURM_STEP_ID" not in variables)
    except JobError as error:
        return Finding("environment", FAIL, str(error), "unset it in the shell, or in slurm/site.env")
    if ignored:
        return Finding("environment", WARN, "; ".join(ignored), "unset them: another program left them there")
    return Finding("environment", OK, "nothing of other programs in it")
