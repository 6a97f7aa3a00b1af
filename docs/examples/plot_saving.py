"""
Is a model that was saved still the same?
=========================================

``save`` writes one file: arrays as safetensors, the rest as JSON. Loading it runs nothing, unlike a
pickle. The model that comes back should predict and explain as the first does, to the last bit.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from sklearn_mmfusion import InTenseClassifier, LinearEncoder, load
from sklearn_mmfusion.plotting import ContributionDisplay

rng = np.random.default_rng(0)
X = {"text": rng.normal(size=(300, 6)), "audio": rng.normal(size=(300, 4))}
y = np.where(X["text"][:, 0] * X["audio"][:, 0] + X["text"][:, 1] > 0, "like", "dislike")
est = InTenseClassifier(
    encoders=LinearEncoder(), latent_dim=2, reg=0.003, max_epochs=40, lr=0.03, random_state=0
).fit(X, y)

# %%
# The file holds no row of the training data.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.safetensors"
    est.save(path)
    size = path.stat().st_size
    loaded = load(path)
same = np.array_equal(loaded.predict_proba(X), est.predict_proba(X))

# %%
# What the loaded model says about the first row.

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
one = {name: values[:1] for name, values in X.items()}
ContributionDisplay.from_estimator(loaded, one, y[:1], ax=ax)
print(f"{size / 1024:.0f} KiB, equal to the last bit: {same}")
plt.show()

# %%
# The loaded model gives the same probabilities bit for bit, and the same reasons for them.
