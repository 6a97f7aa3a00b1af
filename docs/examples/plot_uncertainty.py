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
# Bars are the scores of the fit to all rows, dots those of the refits, lines the 95 % intervals.
# The p-values stand in the table.

intervals.plot()
print(test)
plt.show()

# %%
# Noise gets some relevance, too; intervals and the test tell it from a weak effect.
