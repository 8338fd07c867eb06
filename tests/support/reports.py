"""What `evaluate_domain` returns, made of given predictions."""

import numpy as np
from sklearn.metrics import confusion_matrix

from job.evaluation.evaluate import DomainReport


def report(probabilities, labels=None):
    p = np.asarray(probabilities, float)
    predicted = p.argmax(1)
    classes = p.shape[1]
    confusion = None if labels is None else confusion_matrix(labels, predicted, labels=range(classes))
    return DomainReport(
        domain="x",
        split="val",
        samples=len(p),
        confusion=confusion,
        predicted=np.bincount(predicted, minlength=classes),
        mean_probability=p.mean(0),
        mean_entropy=float(-(p * np.log(np.maximum(p, 1e-12))).sum(1).mean()),
    )
