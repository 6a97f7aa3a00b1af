"""
Do other tools tell the same story as relevance?
================================================

Relevance is read off the weights. Shapley values of modalities and permutation importance look at
the model from outside, and work for any model: the first shares out the output of the model, the
second asks how much the score falls. SHAP and the explainable boosting machine (EBM) of interpret
work on single columns of a table, where modalities are sets of columns; to compare them, add up
SHAP's values over the columns of a modality, and give EBM the contributions of a modality (see
``ContributionTransformer``) as one column.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split

from sklearn_mmfusion import MLPEncoder, MNLClassifier, ModalityFrame
from sklearn_mmfusion.datasets import load_multiple_features
from sklearn_mmfusion.inspection import modality_shapley

views, y = load_multiple_features(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    ModalityFrame(views), y, train_size=500, test_size=300, stratify=y, random_state=0
)
est = MNLClassifier(
    encoders=MLPEncoder(hidden_dim=16), reg=0.001, max_epochs=40, lr=0.01, random_state=0
).fit(X_train, y_train)

# %%
# Shapley values are one for each row, modality and class; their mean size is the importance.
# scikit-learn's own ``permutation_importance`` takes a ``ModalityFrame`` and permutes whole
# modalities.

shapley = modality_shapley(est, X_test.iloc[:60], background=30, random_state=0)
sizes = np.abs(shapley.shapley_values).mean(axis=(0, 2))
permuted = permutation_importance(est, X_test, y_test, n_repeats=5, random_state=0)
measures = {
    "relevance": np.array(list(est.relevance_scores_.values())),
    "Shapley values": sizes,
    "permutation importance": np.maximum(permuted.importances_mean, 0),
}

names = est.modality_names_
colors = ("#0072B2", "#E69F00", "#009E73")
fig, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for shift, ((measure, values), color) in enumerate(zip(measures.items(), colors, strict=True)):
    place = np.arange(len(names)) + 0.27 * (shift - 1)
    ax.bar(place, values / values.sum(), width=0.25, color=color, label=measure)
ax.set_xticks(range(len(names)), labels=names)
ax.set(ylabel="share of the sum over views")
ax.legend()
print({name: np.round(v / v.sum(), 2).tolist() for name, v in measures.items()})
plt.show()

# %%
# Where the three differ, they answer different questions: what the model holds, what it says, and
# what its score would lose.
