"""``python -m job.monitor.draw RUN STATUS [--report-only]``: figures and report.html of a run, drawn from its folder.

A process of its own draws during training, so that neither the training nor its interpreter waits for a picture.
"""

import json
import os
import sys
from pathlib import Path

from job.monitor.report.write import write_report
from job.run_folder.run_view import read_run


def main() -> None:
    folder, status, *options = sys.argv[1:]
    if status == "running":  # else all ranks wait for it
        os.nice(10)
    run = read_run(Path(folder))
    run.status["status"] = status  # which the run is about to write
    written = {}
    if "--report-only" not in options:
        from job.monitor.figures.draw import draw_figures  # matplotlib: a second to import

        written = draw_figures(run)
    write_report(run)
    print(json.dumps({name: str(path) for name, path in written.items()}))


if __name__ == "__main__":
    main()
