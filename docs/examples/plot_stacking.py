"""
Can a tree work with what each modality says?
=============================================

``ContributionTransformer`` fits an additive model and turns modalities of any shape into a few
columns with a meaning: what each term adds to the decision. ``fit_transform`` takes each row from
a fit that has not seen it, as stacking needs it. Any model of scikit-learn can stand on top.
"""

from matplotlib import pyplot as plt
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, plot_tree

from sklearn_mmfusion import ContributionTransformer, MLPEncoder, MNLClassifier, ModalityFrame
from sklearn_mmfusion.datasets import load_multiple_features

views, digit = load_multiple_features(return_X_y=True)
X = ModalityFrame({name: views[name] for name in ("fou", "mor", "zer")})
y = (digit >= 5).astype(int)  # five and more, or less: no view says it in one direction
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=500, test_size=500, stratify=y, random_state=0
)

# %%
# 129 columns become three, and a tree of depth 2 reads them.

additive = MNLClassifier(
    encoders=MLPEncoder(hidden_dim=16), reg=0.001, max_epochs=40, lr=0.01, random_state=0
)
stacked = make_pipeline(
    ContributionTransformer(additive, cv=3), DecisionTreeClassifier(max_depth=2, random_state=0)
).fit(X_train, y_train)
names = list(stacked[:-1].get_feature_names_out())

fig, ax = plt.subplots(figsize=(9, 4), layout="constrained")
plot_tree(
    stacked[-1],
    feature_names=names,
    class_names=["0 to 4", "5 to 9"],
    filled=True,
    impurity=False,
    rounded=True,
    fontsize=9,
    ax=ax,
)
print(f"tree on contributions: {stacked.score(X_test, y_test):.3f}")
print(f"the additive model itself: {additive.fit(X_train, y_train).score(X_test, y_test):.3f}")
plt.show()

# %%
# A tree that fits on a page, over features that were learned, and each split names its modality.
