"""Objectives: modules with `DOMAINS` (whose rows make a batch), `LABELLED` (whose labels are read), `views`, `loss`."""

from job.methods import dann, source_only, train_on_target

OBJECTIVES = {"dann": dann, "source_only": source_only, "train_on_target": train_on_target}
