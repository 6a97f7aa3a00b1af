"""
Does routing change from row to row?
====================================

Relevance describes a model as a whole. In multimodal routing every row has coefficients of its own:
how each term divides between the classes. Here a switch decides, row by row, whether the text or
the audio tells which of three classes it is; the other one is nearly silent.
"""

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import MLPEncoder, RoutingClassifier
from sklearn_mmfusion.plotting import RoutingDisplay

rng = np.random.default_rng(0)
N = 700
y = rng.integers(3, size=N)
text_is_on = rng.integers(2, size=N) == 1
cue = np.eye(3)[y]
X = {
    "text": np.where(text_is_on[:, None], 3.0, 0.0) * cue + 0.3 * rng.normal(size=(N, 3)),
    "audio": np.where(text_is_on[:, None], 0.0, 3.0) * cue + 0.3 * rng.normal(size=(N, 3)),
}
y = np.array(["angry", "calm", "happy"])[y]
train, test = ({k: v[rows] for k, v in X.items()} for rows in (slice(500), slice(500, N)))
est = RoutingClassifier(
    encoders=MLPEncoder(hidden_dim=16),
    interactions=1,
    feature_dim=8,
    concept_dim=8,
    dropout=0.1,
    max_epochs=60,
    lr=0.01,
    random_state=0,
)
est.fit(train, y[:500])

# %%
# Two rows of the same class. In the first the text is on, in the second the audio. What is drawn is
# the routing coefficient times the activation of the term.

happy = y[500:] == "happy"
rows = [int(np.flatnonzero(happy & (text_is_on[500:] == on))[0]) for on in (True, False)]
fig, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
RoutingDisplay.from_estimator(
    est, test, y[500:], samples=rows, quantity="routed_activation", ax=axes
)
print(f"accuracy on new rows: {est.score(test, y[500:]):.3f}")
plt.show()

# %%
# In every row the modality that has the cue sends more to the class, and it is another in the next.
