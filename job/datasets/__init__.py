"""Register the layouts of data sets, by name."""

import difflib
from importlib import import_module

from job.datasets.layout import Layout
from job.system.errors import JobError

# name -> module that defines LAYOUT; imported on demand, so that a data set's dependencies load only for that data set
LAYOUTS = {
    "faces": "job.datasets.synthetic_faces",
    "mnist-m": "job.datasets.mnist_m",
    "folders": "job.datasets.folders",
    "csv": "job.datasets.table",
    "kdef": "job.datasets.layouts.kdef",
    "ferg": "job.datasets.layouts.ferg",
    "rafdb": "job.datasets.layouts.rafdb",
    "fer2013": "job.datasets.layouts.fer2013",
    "jaffe": "job.datasets.layouts.jaffe",
    "ckplus": "job.datasets.layouts.ckplus",
    "affectnet": "job.datasets.layouts.affectnet",
    "expw": "job.datasets.layouts.expw",
    "sfew": "job.datasets.layouts.sfew",
    "rafd": "job.datasets.layouts.rafd",
    "cremad": "job.datasets.layouts.cremad",
    "ravdess": "job.datasets.layouts.ravdess",
    "parquet": "job.datasets.parquet",
    "webdataset": "job.datasets.webdataset_tars",
    "pair": "job.datasets.pair",
}


def find_layout(name: str) -> Layout:
    """Return the layout called `name`. Raises JobError, naming the closest match, when there is no such layout."""
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name.lower(), LAYOUTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(LAYOUTS)}"
        raise JobError(f"no layout is called {name!r}: {hint}")
    return import_module(LAYOUTS[name]).LAYOUT
