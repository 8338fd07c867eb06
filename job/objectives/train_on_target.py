"""The upper bound: supervised learning on the target, with the labels that the other objectives never see."""

from job.data.records import TARGET
from job.objectives.source_only import loss as loss
from job.objectives.source_only import views as views

DOMAINS = (TARGET,)
LABELLED = TARGET
