"""
How sure is a relevance score, and could it be chance?
======================================================

One fit gives one number. ``relevance_intervals`` says where it would lie for other samples;
``relevance_test`` says whether a term adds anything on rows that did not train it. The target here
holds ``a``, weakly ``b``, and the product of both; ``c`` is noise.
"""

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import InTenseRegressor, LinearEncoder, relevance_intervals, relevance_test

rng = np.random.default_rng(0)
X = {name: rng.normal(size=(300, 2)) for name in "abc"}
a, b = X["a"][:, 0], X["b"][:, 0]
y = a + 0.3 * b + 0.7 * a * b + 0.7 * rng.normal(size=300)
est = InTenseRegressor(
    encoders=LinearEncoder(),
    latent_dim=2,
    reg=0.01,
    max_epochs=25,
    lr=0.03,
    early_stopping=False,
    random_state=0,
)

# %%
# Twelve refits on reweighted rows. In earnest, take 20 or more, and the null (``null=True``, the
# default) for the interactions.

intervals = relevance_intervals(est, X, y, n_refits=12, null=False, random_state=0)
test = relevance_test(est, X, y, random_state=0)

# %%
# Dots are the scores of the fit to all rows, lines their 95 % intervals, and on the right are the
# p-values.

order = np.argsort(intervals.estimate)
names = [intervals.term_names[t] for t in order]
p_values = dict(zip(test.term_names, test.p_value, strict=True))

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for place, (name, t) in enumerate(zip(names, order, strict=True)):
    color = "#0072B2" if p_values[name] < 0.05 else "#8A8A8A"
    ax.plot(intervals.interval[t], [place, place], color=color, linewidth=3, alpha=0.6)
    ax.plot(intervals.estimate[t], place, "o", color=color)
    ax.text(
        1.02, place, f"p = {p_values[name]:.3f}", transform=ax.get_yaxis_transform(), color=color
    )
ax.set_yticks(range(len(names)), labels=names)
ax.set(xlabel="relevance, 95 % interval", xlim=(0, None))
print(test)
plt.show()

# %%
# Noise gets some relevance, too; intervals and the test tell it from a weak effect.
