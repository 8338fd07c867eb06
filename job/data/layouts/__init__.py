"""The datasets that can be made into shards, by name."""

import difflib
from importlib import import_module

from job.data.records import Layout
from job.errors import JobError

# name -> module that holds LAYOUT; imported when asked for, so that one dataset's needs are not everybody's
LAYOUTS = {
    "faces": "job.data.faces",
    "mnist-m": "job.data.digits",
    "folders": "job.data.layouts.folders",
    "csv": "job.data.layouts.table",
    "kdef": "job.data.layouts.kdef",
    "ferg": "job.data.layouts.ferg",
    "rafdb": "job.data.layouts.rafdb",
    "fer2013": "job.data.layouts.fer2013",
    "jaffe": "job.data.layouts.jaffe",
    "ckplus": "job.data.layouts.ckplus",
    "webdataset": "job.data.layouts.webdataset_tars",
    "pair": "job.data.layouts.pair",
}


def find_layout(name: str) -> Layout:
    """The layout called `name`. Raises JobError naming the nearest known one."""
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name.lower(), LAYOUTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(LAYOUTS)}"
        raise JobError(f"no layout is called {name!r}: {hint}")
    return import_module(LAYOUTS[name]).LAYOUT
