"""Methods of domain adaptation: a file of maths each, a line here, and settings in job/config/objectives.py."""

from job.methods.adabn import AdaBN
from job.methods.base import Method
from job.methods.cdan import CDAN
from job.methods.coral import CORAL
from job.methods.dann import DANN
from job.methods.mcd import MCD
from job.methods.source_only import SourceOnly
from job.methods.train_on_target import TrainOnTarget

METHODS: dict[str, type[Method]] = {
    "dann": DANN,
    "source_only": SourceOnly,
    "train_on_target": TrainOnTarget,
    "cdan": CDAN,
    "mcd": MCD,
    "coral": CORAL,
    "adabn": AdaBN,
}
