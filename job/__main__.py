"""The command line: ``python -m job COMMAND``."""

import errno
import faulthandler
import os
import socket
import sys

import click

from job.commands.crossval import crossval
from job.commands.data import inspect, shards
from job.commands.model import demo, evaluate, export, predict, push
from job.commands.monitoring import compare, dashboard, report
from job.commands.search import search
from job.commands.training import doctor, train
from job.system.crash import scrub_tracebacks
from job.system.echo import echo
from job.system.errors import EXIT_BAD_INPUT, EXIT_CRASH, JobError, first_line
from job.system.foreign_environment import clean_environment
from job.system.garbage_pause import exit_without_collection
from job.system.launch_protocol import process_exit_code, report_crash, report_exit
from job.system.open_files import raise_limit
from job.system.secrets import scrub
from job.system.text import printable, shortened
from job.system.threads import let_threads_sleep

_LONGEST_MESSAGE = 2000  # characters: a value that a message repeats may have millions
DISTRIBUTED = ("train", "evaluate")  # commands that a launcher may start as several ranks
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name=None, version=__import__("job").__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """Unsupervised domain adaptation: train an image classifier with the labels of one domain only."""
    name = context.invoked_subcommand
    if name != "doctor":  # which reports them
        warnings = clean_environment(distributed=name in DISTRIBUTED, accelerate=name in DISTRIBUTED)
        if name in (*DISTRIBUTED, "predict") and os.environ.get("RANK", "0") == "0":
            for warning in warnings:
                echo(f"warning: {warning}", err=True)
    let_threads_sleep()
    raise_limit()
    exit_without_collection()


for command in (
    train,
    shards,
    inspect,
    evaluate,
    predict,
    export,
    push,
    demo,
    compare,
    doctor,
    report,
    dashboard,
    search,
    crossval,
):
    main.add_command(command)


def run() -> int:
    """Run a command; a JobError becomes one line on stderr and exit code 2."""
    arguments = sys.argv[1:]
    sys.argv[1:] = map(scrub, arguments)  # W&B records them
    scrub_tracebacks()
    try:
        exit_code = main(arguments, standalone_mode=False) or 0
        report_exit(exit_code)
        return process_exit_code(exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_BAD_INPUT
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "python -m job"
        message = error.format_message().rstrip(".")
        return _report_error(f"{message}{' See' if message.endswith('?') else ': see'} {command} --help")
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click takes a file that ends too early for Ctrl-D at a prompt
            raise error.__cause__ from None
        echo("interrupted: run the same command again to resume", err=True)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "job").partition(".")[0] in ("job", "launch"):
            raise
        return _report_error(f"{error.name} is not installed here: source .venv/bin/activate, or make setup")
    except JobError as error:
        return _report_error(f"{error}{_rank(error.rank)}")
    except Exception as error:
        return _fail(error)


def _fail(error: Exception) -> int:
    """Report in one line what the user can mend, or that another rank is gone. Re-raises everything else."""
    if _out_of_memory(error):
        return _report_error(f"{_OUT_OF_MEMORY}{_rank()} ({shortened(first_line(error), 160)})")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return _report_error(f"{shortened(str(error.filename))} is too long for a path: choose another{_rank()}")
    lost = report_crash(error)
    if lost is None:
        raise error
    echo(f"error: {lost}", err=True)
    return EXIT_CRASH


_OUT_OF_MEMORY = (
    "not enough memory: lower data.global_batch_size or evaluation.batch_size, raise train.accumulate, lower "
    "data.prefetch and data.decoded_gib, or choose a smaller network"
)


def _out_of_memory(error: Exception) -> bool:
    """Return whether NumPy or torch failed to allocate memory, on the host or on a GPU."""
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "t allocate memory" in str(error)


def _rank(place: tuple[int, str] | None = None) -> str:
    """Name the rank that found an error: `place`, or else this one, of which the main rank needs no name."""
    rank, host = place or (os.environ.get("RANK", "0"), socket.gethostname())
    return f" (rank {rank} on {host})" if place or rank != "0" else ""


def _report_error(message: str) -> int:
    message = shortened(printable(scrub(message), keep=""), _LONGEST_MESSAGE)
    echo(f"error: {message}", err=True)
    report_exit(EXIT_BAD_INPUT, message)
    return EXIT_BAD_INPUT


if __name__ == "__main__":
    faulthandler.enable()  # a crash of a library prints the stacks
    sys.exit(run())
