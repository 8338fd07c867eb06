"""Run `accelerate launch` and say in one line which rank failed: ``python -m job.system.launch ARGUMENTS``.

Without options, ``python -m job.system.launch -m MODULE ...`` starts a single rank without importing torch.

The launcher's own tracebacks and tables, some forty lines for each node, would hide the message of the rank.
"""

import logging
import os
import signal
import socket
import subprocess
import sys

from job.system.errors import EXIT_CRASH, first_line
from job.system.launch_protocol import report_exit
from job.system.open_files import raise_limit

# On SIGTERM torch's launcher would end itself and the ranks, with a traceback; launch/node.sh requests a stop instead.
# The variable sets its option --signals-to-handle, which requires a name: a signal that no program sends.
os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGQUIT"
# As `accelerate launch` sets them.
SINGLE_RANK = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "no"}
MEMORY_ADVICE = "out of memory? request more (sbatch --mem=...), or set data.decoded_gib=0"


def main() -> int:
    """Start the ranks and wait for them; returns 0, or 1 when one failed."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which ranks would inherit
    arguments = sys.argv[1:]
    if arguments[:1] == ["-m"]:
        code = subprocess.run([sys.executable, *arguments], env=os.environ | SINGLE_RANK).returncode
        return _failed(0, code) if code else 0
    return _launch(arguments)


def _launch(arguments: list[str]) -> int:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    raise_limit()  # the store of all ranks is in this process
    logging.disable(logging.ERROR)  # of the launcher only: ranks are other processes
    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return _failed(rank, failure.exitcode)
    except Exception as error:  # the nodes did not connect: RendezvousError, DistNetworkError, a port in use
        return _say(f"{socket.gethostname()} cannot start its ranks: {type(error).__name__}: {first_line(error)}")
    return 0


def _failed(rank: int, exit_code: int) -> int:
    if exit_code >= 0 or -exit_code == signal.SIGTERM:  # the rank has said why, or node.sh has stopped it
        return EXIT_CRASH
    name = signal.Signals(-exit_code).name
    advice = f": {MEMORY_ADVICE}" if -exit_code == signal.SIGKILL else ""
    return _say(f"rank {rank} on {socket.gethostname()} was killed by {name}{advice}")


def _say(reason: str) -> int:
    print(reason, file=sys.stderr, flush=True)
    report_exit(EXIT_CRASH, reason)
    return EXIT_CRASH


if __name__ == "__main__":
    sys.exit(main())
