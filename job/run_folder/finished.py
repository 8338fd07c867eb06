"""Check that a finished run was made with a configuration: ``python -m job.run_folder.finished CONFIG KEY=VALUE ...``.

Exit code: 0 if so, 1 if the run is not finished, 2 with one line if it was made with another configuration.
"""

import sys
from collections.abc import Sequence

from job.config.load import build_config, load_config
from job.config.schema import Config
from job.run_folder.differences import differences
from job.run_folder.stored_files import read_config, read_object
from job.system.errors import EXIT_BAD_INPUT, JobError


def is_finished(config: Config) -> bool:
    """Return whether the run of a configuration has finished. Raises JobError if it was made with another one."""
    folder = config.run_folder
    if not read_object(folder / "summary.json"):
        return False
    changes = differences(build_config(read_config(folder), f"{folder}/config.yaml"), config)
    if changes:
        raise JobError(
            f"{folder} was trained with another configuration ({'; '.join(changes)}): choose another `name`, or put "
            "the values back to reuse it"
        )
    return True


def main(arguments: Sequence[str]) -> int:
    try:
        config = load_config(arguments[0], arguments[1:])
        finished = is_finished(config)
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if finished:
        print(f"{config.run_folder} is finished")
    return 0 if finished else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
