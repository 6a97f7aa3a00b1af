"""
Are rows that lack a modality worth keeping?
============================================

A row of NaN is a row without that modality. With ``missing="mask"`` the terms that hold it
contribute exactly 0 to the row, in training and after, and all others learn from it. How much is
that worth, against dropping the rows that have a gap?
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.model_selection import train_test_split

from sklearn_mmfusion import MLPEncoder, MNLClassifier, ModalityFrame
from sklearn_mmfusion.datasets import load_multiple_features

views, y = load_multiple_features(return_X_y=True)
X = ModalityFrame({name: views[name].astype(float) for name in ("fou", "zer", "mor")})
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=500, test_size=800, stratify=y, random_state=0
)
est = MNLClassifier(
    encoders=MLPEncoder(hidden_dim=32),
    missing="mask",
    reg=0.001,
    max_epochs=40,
    lr=0.01,
    random_state=0,
)

# %%
# More and more rows lose one of the three views, drawn once. The test rows are complete.

rng = np.random.default_rng(0)
order, lost = rng.permutation(len(y_train)), rng.integers(3, size=len(y_train))
shares = [0.0, 0.3, 0.6, 0.9]
accuracy = {"kept": [], "dropped": []}
for share in shares:
    gaps = order[: int(share * len(order))]
    damaged = X_train.copy()
    for m, name in enumerate(X):
        damaged[name][gaps[lost[gaps] == m]] = np.nan
    whole = np.setdiff1d(order, gaps)
    accuracy["kept"].append(est.fit(damaged, y_train).score(X_test, y_test))
    accuracy["dropped"].append(est.fit(damaged.iloc[whole], y_train[whole]).score(X_test, y_test))

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), color in zip(accuracy.items(), ("#0072B2", "#D55E00"), strict=True):
    ax.plot(100 * np.array(shares), values, "o-", color=color)
    ax.text(92, values[-1], name, color=color, va="center")
ax.set(xlabel="training rows that lack a view (%)", ylabel="accuracy on 800 complete rows")
ax.set_xlim(-3, 108)
ax.grid(axis="y", color="#E3E3E3")
print({name: np.round(values, 3).tolist() for name, values in accuracy.items()})
plt.show()

# %%
# Keep them: two views out of three teach nearly as much as all, and a dropped row teaches nothing.
