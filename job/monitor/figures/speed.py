"""Images a second, and the share of the time that was spent waiting for data."""

from matplotlib.figure import Figure

from job.monitor.colours import SOURCE, TARGET
from job.monitor.figures.style import new_figure
from job.run_folder.run_view import RunView

TOO_LONG = 0.2  # of the time


def draw_speed(run: RunView) -> Figure | None:
    steps, rates = run.series("speed/images_per_second")
    if not steps:
        return None
    figure = new_figure(8, 3)
    speed, wait = figure.subplots(1, 2)
    speed.plot(steps, rates, color=SOURCE)
    speed.set(title="images a second", xlabel="step", ylim=(0, None))
    steps, waits = run.series("speed/data_wait_fraction")
    wait.plot(steps, waits, color=TARGET)
    wait.axhline(TOO_LONG, color=TARGET, linewidth=1, linestyle=":")
    wait.set(title="share of time waiting for data", xlabel="step", ylim=(0, max(0.25, 1.1 * max(waits))))
    for axes in (speed, wait):
        axes.grid(True)
    return figure
