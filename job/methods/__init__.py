"""Methods of domain adaptation, and terms that they can add. Each has its own file and a line in the registry here.

Their settings are in job/config/objectives.py and job/config/terms.py.
"""

from job.config.method_settings import MethodSettings
from job.methods.adabn import AdaBN
from job.methods.afn import AFN, AFNTerm
from job.methods.base import Method
from job.methods.cdan import CDAN
from job.methods.coral import CORAL, CORALTerm
from job.methods.dan import DAN, DANTerm
from job.methods.dann import DANN
from job.methods.deepjdot import DeepJDOT, DeepJDOTTerm
from job.methods.entropy import EntropyTerm
from job.methods.fixmatch import FixMatch, FixMatchTerm
from job.methods.mcc import MCC, MCCTerm
from job.methods.mcd import MCD
from job.methods.shot import SHOT
from job.methods.source_only import SourceOnly
from job.methods.term import Term
from job.methods.train_on_target import TrainOnTarget

METHODS: dict[str, type[Method]] = {
    "dann": DANN,
    "source_only": SourceOnly,
    "train_on_target": TrainOnTarget,
    "cdan": CDAN,
    "mcd": MCD,
    "coral": CORAL,
    "adabn": AdaBN,
    "mcc": MCC,
    "fixmatch": FixMatch,
    "shot": SHOT,
    "dan": DAN,
    "deepjdot": DeepJDOT,
    "afn": AFN,
}
TERMS: dict[str, type[Term]] = {  # of `objective.also`
    "coral": CORALTerm,
    "entropy": EntropyTerm,
    "mcc": MCCTerm,
    "fixmatch": FixMatchTerm,
    "dan": DANTerm,
    "deepjdot": DeepJDOTTerm,
    "afn": AFNTerm,
}


def couples_rows(objective: MethodSettings) -> bool:
    """Return whether the loss compares rows of a batch, so that computing it on shares of the batch changes it."""
    return METHODS[objective.name].couples_rows or any(TERMS[term.name].couples_rows for term in objective.terms)


def add_terms(method: Method) -> None:
    """Build the terms of `objective.also` and add them to the method."""
    method.add_terms([TERMS[term.name](method.network, term) for term in method.settings.terms])
