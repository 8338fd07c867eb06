"""``python -m job.monitor.draw RUN STATUS [--test-only]``: draw figures and report.html of a run from its folder.

Training starts it as a separate process, so that it need not wait for figures, nor share the interpreter lock.
"""

import json
import os
import sys
from pathlib import Path

from job.system.garbage_pause import exit_without_collection, imports_without_collection


def main() -> None:
    exit_without_collection()
    folder, status, *options = sys.argv[1:]
    if status == "running":  # at the end of a run all ranks wait for it
        os.nice(10)
    # imports matplotlib, which takes a second: after nice
    with imports_without_collection():
        from job.monitor.figures.draw import FIGURES, TEST_FIGURES, draw_figures
        from job.monitor.report.write import write_report
        from job.run_folder.run_view import read_run

    run = read_run(Path(folder))
    run.status["status"] = status  # the run writes this status after drawing
    written = draw_figures(run, TEST_FIGURES if "--test-only" in options else tuple(FIGURES))
    write_report(run)
    print(json.dumps({name: str(path) for name, path in written.items()}))


if __name__ == "__main__":
    main()
