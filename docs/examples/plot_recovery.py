"""
Does relevance find the truth?
==============================

``make_recovery`` builds targets from single modalities and from products of several, with
coefficients that are known. Relevance should be the share of standard deviation that each term
carries. This is a regression with two pairs in it, and a modality of noise.
"""

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import InTenseRegressor, LinearEncoder
from sklearn_mmfusion.datasets import make_recovery
from sklearn_mmfusion.plotting import InteractionDisplay

coefficients = {("text",): 1.0, ("audio",): 0.5, ("text", "audio"): 0.8, ("audio", "face"): 0.4}
bunch = make_recovery(
    1500, coefficients, noise=0.1, target_noise=0.2, n_noise_modalities=1, random_state=0
)
est = InTenseRegressor(
    encoders=LinearEncoder(),
    interactions=2,
    latent_dim=2,
    reg=0.004,
    max_epochs=25,
    lr=0.03,
    random_state=0,
)
est.fit(bunch.data, bunch.target)

# %%
# Terms that the truth does not hold have relevance 0 there. The circle shows the same model: discs
# are modalities, lines are pairs.

truth = np.array([bunch.relevance.get(name, 0.0) for name in est.term_names_])
found = np.array(list(est.relevance_scores_.values()))
order = np.lexsort((found, truth))
names = [est.term_names_[t] for t in order]
place = np.arange(len(names))

fig, (ax, circle) = plt.subplots(
    1, 2, figsize=(11, 4.2), width_ratios=(1.5, 1), layout="constrained"
)
ax.barh(place, found[order], color="#56B4E9", label="relevance of the model")
ax.plot(truth[order], place, "D", color="#222222", markersize=6, label="truth")
ax.set_yticks(place, labels=names)
ax.set(xlabel="share of standard deviation", xlim=(-0.01, None))
ax.legend(loc="lower right")
InteractionDisplay.from_estimator(est, ax=circle)
print(f"largest error: {np.abs(found - truth).max():.3f}")
plt.show()

# %%
# Relevance is a measure, not only a ranking: every term lies close to the share that was put in.
