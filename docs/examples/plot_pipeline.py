"""
How many components does a wide modality need?
==============================================

``ModalityTransformer`` applies a transformer of scikit-learn to each modality, as
``ColumnTransformer`` does to columns. In a pipeline it is fitted inside every fold, and its
parameters are searched like any other.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_mmfusion import LinearEncoder, MNLClassifier, ModalityFrame, ModalityTransformer
from sklearn_mmfusion.datasets import load_multiple_features

views, y = load_multiple_features(return_X_y=True)
X = ModalityFrame({name: views[name] for name in ("pix", "mor")})
X, _, y, _ = train_test_split(X, y, train_size=300, stratify=y, random_state=0)

# %%
# The 240 pixel averages go through principal components; ``mor`` stays as it is.

model = make_pipeline(
    ModalityTransformer([("pix", PCA(random_state=0))]),
    MNLClassifier(encoders=LinearEncoder(), reg=0.01, max_epochs=30, lr=0.02, random_state=0),
)
components = [1, 4, 16, 64]
search = GridSearchCV(model, {"modalitytransformer__pix__n_components": components}, cv=3)
search.fit(X, y)

# %%
# What is left of ``pix`` decides how much the model rests on ``mor``.

share = []
for n in components:
    model.set_params(modalitytransformer__pix__n_components=n).fit(X, y)
    share.append(model[-1].relevance_scores_["mor"])

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.plot(components, search.cv_results_["mean_test_score"], "o-", color="#0072B2")
ax.text(components[-2], search.cv_results_["mean_test_score"][-2] - 0.06, "accuracy", ha="center")
ax.plot(components, share, "s--", color="#D55E00")
ax.text(components[-2], share[-2] - 0.06, "relevance of mor", ha="right")
ax.set_xscale("log", base=2)
ax.set_xticks(components, labels=components)
ax.set(xlabel="principal components of pix", ylabel="accuracy, relevance", ylim=(0, 1))
ax.grid(axis="y", color="#E3E3E3")
print(dict(zip(components, np.round(share, 2).tolist(), strict=True)))
plt.show()

# %%
# Some 16 of 240 directions carry the digits, and the fewer are left, the more ``mor`` is needed.
