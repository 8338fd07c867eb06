"""Check the environment for variables of other programs."""

import os
from collections.abc import Mapping

from job.doctor.findings import FAIL, OK, WARN, Finding
from job.system.errors import JobError
from job.system.foreign_environment import clean_environment


def environment(variables: Mapping[str, str] = os.environ) -> Finding:
    """Report the variables that training would refuse, or ignore with a warning."""
    try:
        # under srun the variables of every task describe the doctor's own ranks, not those of training
        ignored = clean_environment(dict(variables), distributed="SLURM_STEP_ID" not in variables)
    except JobError as error:
        return Finding("environment", FAIL, str(error), "unset it in the shell, or in slurm/site.env")
    if ignored:
        return Finding("environment", WARN, "; ".join(ignored), "unset them: another program has set them")
    return Finding("environment", OK, "no variables of other programs")
