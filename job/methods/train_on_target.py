"""The upper bound: supervised learning on the target, with the labels that the other objectives never see."""

from job.methods.source_only import loss as loss
from job.methods.source_only import views as views
from job.vocabulary import TARGET

DOMAINS = (TARGET,)
LABELLED = TARGET
