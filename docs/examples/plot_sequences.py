"""
Which encoder reads a short signal in a long sequence?
======================================================

A modality may be a list of arrays of different lengths, one for each row: (steps, features). Here a
rise and a fall of the signal, in this order or the other, are hidden somewhere in noise. The second
modality is noise alone.
"""

import warnings

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import (
    Conv1dEncoder,
    GRUEncoder,
    MNLClassifier,
    RelevanceWarning,
    SummaryEncoder,
)

rng = np.random.default_rng(0)
MOTIF = 2.5 * np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])


def sequence(label):
    """Return (steps, 2): the motif, or its mirror image, somewhere in noise."""
    values = rng.normal(scale=0.7, size=(rng.integers(15, 30), 2))
    start = rng.integers(len(values) - len(MOTIF))
    values[start : start + len(MOTIF), 0] += MOTIF if label else -MOTIF
    return values


y = rng.integers(2, size=600)
X = {"sensor": [sequence(label) for label in y], "other": rng.normal(size=(600, 3))}
train = {"sensor": X["sensor"][:400], "other": X["other"][:400]}
test = {"sensor": X["sensor"][400:], "other": X["other"][400:]}

# %%
# The length of each row is known to the encoders: padding is never read. A fit at chance warns that
# its relevance means nothing; here that is what we want to see.

encoders = {
    "summary\n(mean, std, ...)": SummaryEncoder(),
    "GRU": GRUEncoder(hidden_dim=16),
    "convolution": Conv1dEncoder(channels=16, kernel_size=7),
}
accuracy, relevance = [], []
for encoder in encoders.values():
    est = MNLClassifier(
        encoders={"sensor": encoder}, reg=0.001, max_epochs=25, lr=0.02, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelevanceWarning)
        est.fit(train, y[:400])
    accuracy.append(est.score(test, y[400:]))
    relevance.append(est.relevance_scores_["sensor"])

# %%
# On the left one row of each class, on the right what the encoders make of 200 new rows.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for label, color in enumerate(("#D55E00", "#0072B2")):
    row = int(np.flatnonzero(y == label)[0])
    left.plot(X["sensor"][row][:, 0] + 9 * label, color=color)
    left.text(0, 9 * label + 2.5, f"class {label}, {len(X['sensor'][row])} steps", color=color)
left.set(xlabel="step", yticks=[], ylim=(-5, 15), title="two rows of the sensor")
right.barh(list(encoders), accuracy, color="#0072B2")
right.axvline(0.5, color="#222222", linestyle=":")
for place, value in enumerate(accuracy):
    right.text(value - 0.02, place, f"{value:.2f}", ha="right", va="center", color="white")
right.set(xlabel="accuracy (dotted: chance)", xlim=(0, 1), title="encoder of the sensor")
print(np.round(accuracy, 3).tolist(), np.round(relevance, 3).tolist())
plt.show()

# %%
# Order is what summaries can't see: a filter of the right length finds it, and a GRU, in time, too.
