"""
What should I look at before I trust a model?
=============================================

``fusion_report`` writes one HTML file: what the data hold, scores beside those of a constant,
calibration, relevance, interactions, examples, training, and first of all what makes the numbers
doubtful. In a notebook it shows itself, as it does here below the figure.
"""

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import InTenseClassifier, LinearEncoder, ModalityFrame, fusion_report
from sklearn_mmfusion.plotting import TrainingCurveDisplay

rng = np.random.default_rng(0)
X = ModalityFrame({"text": rng.normal(size=(450, 4)), "audio": rng.normal(size=(450, 3))})
signal = X["text"][:, 0] + X["text"][:, 1] * X["audio"][:, 0]
y = np.where(signal + 0.5 * rng.normal(size=450) > 0, "like", "dislike")
train, test = np.arange(300), np.arange(300, 450)

est = InTenseClassifier(
    encoders=LinearEncoder(), latent_dim=2, reg=0.003, max_epochs=80, lr=0.03, random_state=0
).fit(X.iloc[train], y[train])

# %%
# One of the figures, drawn alone: had the training come to an end, and did rows that were held out
# follow the training rows?

fig, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
TrainingCurveDisplay.from_estimator(est, ax=ax)
plt.show()

# %%
# Rows that the model has not seen, and the training rows to tell overfitting.
# ``path="report.html"`` would write the file.

fusion_report(est, X.iloc[test], y[test], X_train=X.iloc[train], y_train=y[train], n_examples=3)

# %%
# Doubts would stand above the data; here are none, and relevance may be read.
