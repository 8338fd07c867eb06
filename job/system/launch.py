"""`accelerate launch` that says in one line which rank failed: ``python -m job.system.launch ARGUMENTS``.

The launcher's own tracebacks and tables, some forty lines for each node, would bury what the rank itself said.
"""

import logging
import os
import signal
import socket
import subprocess
import sys

from job.system.errors import EXIT_CRASH, first_line
from job.system.launch_protocol import tell_launcher

# On SIGTERM torch's launcher would end itself and the ranks, with a traceback; launch/node.sh asks them for a stop
# instead. Its option --signals-to-handle, by the variable; a name is required, and nobody sends this one.
os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGQUIT"
MEMORY_ADVICE = "out of memory? ask for more (sbatch --mem=...), or set data.decoded_gib=0"


def main() -> int:
    """Start the ranks and wait for them; returns 0, or 1 when one failed."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which ranks would inherit
    logging.disable(logging.ERROR)  # of the launcher only: ranks are processes of their own
    try:
        launch_command(launch_command_parser().parse_args())
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return _failed(rank, failure.exitcode)
    except subprocess.CalledProcessError as error:  # of a single rank
        return _failed(0, error.returncode)
    except Exception as error:  # the nodes did not meet: RendezvousError, DistNetworkError, a port that is taken
        return _say(f"{socket.gethostname()} cannot start its ranks: {type(error).__name__}: {first_line(error)}")
    return 0


def _failed(rank: int, exit_code: int) -> int:
    if exit_code >= 0 or -exit_code == signal.SIGTERM:  # it has said why; or was told to stop, which node.sh knows
        return EXIT_CRASH
    name = signal.Signals(-exit_code).name
    advice = f": {MEMORY_ADVICE}" if -exit_code == signal.SIGKILL else ""
    return _say(f"rank {rank} on {socket.gethostname()} was killed by {name}{advice}")


def _say(reason: str) -> int:
    print(reason, file=sys.stderr, flush=True)
    tell_launcher(EXIT_CRASH, reason)
    return EXIT_CRASH


if __name__ == "__main__":
    sys.exit(main())
