"""
How large should an encoder be? Ask a grid search
=================================================

Encoders are parameter objects, so a grid reaches them by the name of their modality:
``encoders__fou__hidden_dim``. A ``ModalityFrame`` lets scikit-learn's splitters count rows. Here
the width of an encoder and its dropout are searched together, on two views of digits.
"""

from matplotlib import pyplot as plt
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_mmfusion import MLPEncoder, MNLClassifier, ModalityFrame
from sklearn_mmfusion.datasets import load_multiple_features

views, y = load_multiple_features(return_X_y=True)
X = ModalityFrame({name: views[name] for name in ("fou", "mor")})
X, _, y, _ = train_test_split(X, y, train_size=300, stratify=y, random_state=0)

# %%
# ``reg`` is a number here: a fit then chooses nothing but its epochs inside itself.

est = MNLClassifier(
    encoders={"fou": MLPEncoder(), "mor": MLPEncoder()},
    reg=0.01,
    max_epochs=40,
    lr=0.01,
    random_state=0,
)
grid = {"encoders__fou__hidden_dim": [2, 8, 32], "encoders__fou__dropout": [0.0, 0.5]}
search = GridSearchCV(est, grid, cv=3).fit(X, y)

# %%
# The columns of ``cv_results_`` are those that every search of scikit-learn has.

results = search.cv_results_
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for dropout, look, aside in ((0.0, "o-", 0.96), (0.5, "s--", 1.04)):  # side by side
    rows = results["param_encoders__fou__dropout"] == dropout
    ax.errorbar(
        results["param_encoders__fou__hidden_dim"][rows].astype(float) * aside,
        results["mean_test_score"][rows],
        yerr=results["std_test_score"][rows],
        fmt=look,
        color="#0072B2" if dropout else "#E69F00",
        capsize=3,
        label=f"dropout {dropout}",
    )
ax.set_xscale("log", base=2)
ax.set_xticks(grid["encoders__fou__hidden_dim"], labels=grid["encoders__fou__hidden_dim"])
ax.set(xlabel="hidden units of the encoder of fou", ylabel="accuracy, mean and std of 3 folds")
ax.legend()
print(search.best_params_, round(search.best_score_, 3))
plt.show()

# %%
# Width matters here, and dropout hardly; the spread over folds says how little to make of the rest.
