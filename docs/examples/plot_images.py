"""
Does the image add to the table?
================================

Images go in as (n, height, width) of uint8, as (n, channels, height, width) or with the channels
last. The label is whether the slope of a bar in the image agrees with the sign of a number in a
table: neither of them says anything alone.
"""

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import Conv2dEncoder, InTenseClassifier, LinearEncoder
from sklearn_mmfusion.plotting import RelevanceDisplay

rng = np.random.default_rng(0)
N = 600


def bar(rising):
    """Return (12, 12) of uint8: a bright diagonal at a random place, in noise."""
    image = rng.integers(0, 60, size=(12, 12))
    diagonal = np.eye(12, k=rng.integers(-4, 5), dtype=bool)
    image[diagonal[::-1] if rising else diagonal] = 220
    return image.astype(np.uint8)


rising = rng.integers(2, size=N)
table = rng.normal(size=(N, 3))
y = (rising == (table[:, 0] > 0)).astype(int)
X = {"image": np.stack([bar(r) for r in rising]), "table": table}

# %%
# ``reg`` is a number, so that both single terms and their interaction stay in the model.

train, test = ({k: v[rows] for k, v in X.items()} for rows in (slice(450), slice(450, N)))
est = InTenseClassifier(
    encoders={
        "image": Conv2dEncoder(channels=4, pooling="max", dropout=0.0),
        "table": LinearEncoder(),
    },
    latent_dim=2,
    reg=0.01,
    max_epochs=60,
    lr=0.02,
    random_state=0,
)
est.fit(train, y[:450])

fig = plt.figure(figsize=(9, 3.4), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=(1, 1.6))
for ax, row in zip(left.subplots(2, 2).ravel(), range(4), strict=True):
    ax.imshow(X["image"][row], cmap="gray", vmin=0, vmax=255)
    ax.set_title(f"table {table[row, 0]:+.1f}: class {y[row]}", fontsize=9)
    ax.axis("off")
RelevanceDisplay.from_estimator(est, ax=right.subplots())
print(f"accuracy on new rows: {est.score(test, y[450:]):.3f}")
plt.show()

# %%
# The image matters, and the table, but only together: all relevance is that of the pair.
