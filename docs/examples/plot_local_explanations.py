"""
Why was this row predicted so?
==============================

In an additive model the contributions of the terms and the intercept add up to the decision.
A waterfall shows them for single rows: here the digits that the model got wrong with the greatest
confidence.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.model_selection import train_test_split

from sklearn_mmfusion import MLPEncoder, MNLClassifier, ModalityFrame
from sklearn_mmfusion.datasets import load_multiple_features
from sklearn_mmfusion.plotting import ContributionDisplay

views, y = load_multiple_features(return_X_y=True)
X = ModalityFrame({name: views[name] for name in ("fou", "kar", "mor", "zer")})
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=500, test_size=800, stratify=y, random_state=0
)
est = MNLClassifier(
    encoders=MLPEncoder(hidden_dim=16), reg=0.001, max_epochs=40, lr=0.01, random_state=0
).fit(X_train, y_train)

# %%
# Each panel goes from the intercept to the decision for the class that was predicted.

probability = est.predict_proba(X_test)
predicted = est.classes_[probability.argmax(axis=1)]
wrong = np.flatnonzero(predicted != y_test)
worst = wrong[np.argsort(-probability[wrong].max(axis=1))[:3]]

fig, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
ContributionDisplay.from_estimator(est, X_test, y_test, samples=worst.tolist(), ax=axes)
for row in worst:
    print(f"row {row}: predicted {predicted[row]}, true {y_test[row]}")
print(f"accuracy {np.mean(predicted == y_test):.3f}")
plt.show()

# %%
# The errors have a name: the view whose bar is longest in the wrong direction is where to look.
