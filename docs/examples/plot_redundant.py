"""
When does low relevance not mean useless?
=========================================

Two modalities that carry the same information can stand in for each other. Many splits between them
predict equally well, and the penalty takes its pick. The exponent ``p`` says how it chooses: 1
prefers few terms, larger values share.
"""

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import LinearEncoder, MNLRegressor, UnimodalRegressor

rng = np.random.default_rng(0)
signal = rng.normal(size=(700, 1))
X = {
    "text": signal + 0.30 * rng.normal(size=(700, 3)),
    "transcript": signal + 0.4 * rng.normal(size=(700, 3)),
    "audio": rng.normal(size=(700, 3)),
}
y = signal[:, 0] + 0.8 * X["audio"][:, 0] + 0.3 * rng.normal(size=700)
train, test = ({k: v[rows] for k, v in X.items()} for rows in (slice(500), slice(500, None)))

# %%
# Alone, the transcript is as good as the text.

settings = {"encoders": LinearEncoder(), "max_epochs": 40, "lr": 0.03, "random_state": 0}
alone = [UnimodalRegressor(name, **settings).fit(train, y[:500]).score(test, y[500:]) for name in X]
relevance = {
    p: list(MNLRegressor(p=p, reg=0.1, **settings).fit(train, y[:500]).relevance_scores_.values())
    for p in (1, 2)
}

# %%
# At ``p=2`` the squares of the relevances sum to 1, so both are shown as shares of their sum.

place = np.arange(len(X))
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.bar(place, alone, color="#8A8A8A")
left.set(title="each modality alone", ylabel="R² on new rows", ylim=(0, 1))
for shift, (p, color) in zip((-0.2, 0.2), ((1, "#0072B2"), (2, "#E69F00")), strict=True):
    values = np.array(relevance[p]) / sum(relevance[p])
    right.bar(place + shift, values, width=0.38, color=color, label=f"p = {p}")
right.set(title="in the model of all three", ylabel="share of the relevance")
right.legend()
for ax in (left, right):
    ax.set_xticks(place, labels=list(X))
print({p: np.round(values, 2).tolist() for p, values in relevance.items()})
plt.show()

# %%
# Low relevance means *not needed beside the others*: look at a modality alone before you drop it.
