"""Lay out the features of both domains in two dimensions."""

import numpy as np


def lay_out(features: np.ndarray, method: str) -> np.ndarray:
    """Compute positions float [n, 2] of features float [n, width], by principal components (`pca`) or `tsne`."""
    if method == "tsne" and len(features) > 8:
        from sklearn.manifold import TSNE

        perplexity = min(30, (len(features) - 1) / 4)
        return TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(features)
    u, s, vt = np.linalg.svd(features - features.mean(0), full_matrices=False)
    if len(s) < 2:
        return np.zeros((len(features), 2))
    signs = np.sign(vt[np.arange(2), np.abs(vt[:2]).argmax(1)])  # otherwise the figure may flip between two calls
    return u[:, :2] * s[:2] * signs
