"""``python -m job.monitor.draw RUN STATUS [--test-only]``: figures and report.html of a run, drawn from its folder.

A process of its own draws during training, so that neither the training nor its interpreter waits for a picture.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    folder, status, *options = sys.argv[1:]
    if status == "running":  # else all ranks wait for it
        os.nice(10)
    # matplotlib among them, a second of work: at low priority
    from job.monitor.figures.draw import FIGURES, OF_THE_TEST, draw_figures
    from job.monitor.report.write import write_report
    from job.run_folder.run_view import read_run

    run = read_run(Path(folder))
    run.status["status"] = status  # which the run is about to write
    written = draw_figures(run, OF_THE_TEST if "--test-only" in options else tuple(FIGURES))
    write_report(run)
    print(json.dumps({name: str(path) for name, path in written.items()}))


if __name__ == "__main__":
    main()
