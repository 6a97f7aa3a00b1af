"""
Which modality speaks for which label?
======================================

With a matrix of 0 and 1 as the target, every column is a label and a concept of its own.
Multimodal routing says how the terms divide between the labels. Here each label is decided by
another modality, and one modality is of no use.
"""

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import LinearEncoder, RoutingClassifier
from sklearn_mmfusion.plotting import RoutingDisplay

rng = np.random.default_rng(0)
X = {name: rng.normal(size=(500, 4)) for name in ("words", "voice", "face", "noise")}
Y = np.column_stack([X[name][:, 0] > 0 for name in ("words", "voice", "face")]).astype(int)
train, test = ({k: v[rows] for k, v in X.items()} for rows in (slice(300), slice(300, None)))

# %%
# Terms of one modality are enough here: ``interactions=1``.

est = RoutingClassifier(
    encoders=LinearEncoder(),
    interactions=1,
    feature_dim=16,
    concept_dim=16,
    dropout=0.1,
    max_epochs=60,
    lr=0.02,
    random_state=0,
)
est.fit(train, Y[:300])
correct = (est.predict(test) == Y[300:]).mean(axis=0)

# %%
# The three labels are the columns. Each row sums to 1: a term at 1/3 everywhere takes no side.

fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
RoutingDisplay.from_estimator(est, test, ax=ax)
print("accuracy by label:", np.round(correct, 3).tolist())
plt.show()

# %%
# Every label listens to the modality that decides it, and the noise is spread over all of them.
