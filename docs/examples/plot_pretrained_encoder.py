"""
Is an encoder that was trained elsewhere worth using?
=====================================================

Any ``torch.nn.Module`` that maps a batch to (b, k) is an encoder. ``ModuleEncoder`` wraps it, and
``trainable=False`` freezes it. The module here is a stand-in for a large one: it was trained on
1000 digits, and now a few labelled rows of a new task are there.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from torch import nn

from sklearn_mmfusion import LinearEncoder, MNLClassifier, ModalityFrame, ModuleEncoder
from sklearn_mmfusion.datasets import load_multiple_features

views, digit = load_multiple_features(return_X_y=True)
X = ModalityFrame({"pix": views["pix"].astype(np.int64), "mor": views["mor"]})
X_old, X_new, digit_old, digit_new = train_test_split(
    X, digit, train_size=1000, stratify=digit, random_state=0
)

# %%
# The old task: which digit? Inputs of an encoder are standardised by the rows of the new task, and
# that would not suit a network that knows others. With ``codes=True`` integers come as they are.


class DigitNet(nn.Module):
    """Probabilities of the ten digits, from pixel averages from 0 to 6."""

    def __init__(self, layout=None):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(240, 32), nn.ReLU(), nn.Linear(32, 10), nn.Softmax(dim=1)
        )

    def forward(self, values):
        """Return (b, 10) from integers (b, 240)."""
        return self.layers(values.to(self.layers[0].weight.dtype) / 6)


source = MLPClassifier(32, max_iter=40, learning_rate_init=0.01, tol=0.01, random_state=0)
source.fit(X_old["pix"] / 6, digit_old)
pretrained = DigitNet()
linear = (pretrained.layers[0], pretrained.layers[2])
with torch.no_grad():
    for layer, weight, bias in zip(linear, source.coefs_, source.intercepts_, strict=True):
        layer.weight.copy_(torch.from_numpy(weight.T))
        layer.bias.copy_(torch.from_numpy(bias))

# %%
# The new task: is the digit odd? Each number of rows is drawn three times; the rest is for testing.
# Without ``trainable=False``, a pretrained encoder would be trained further.

y = digit_new % 2
encoders = {
    "trained elsewhere, frozen": ModuleEncoder(module=pretrained, trainable=False, codes=True),
    "from scratch": ModuleEncoder(module=DigitNet, codes=True),
}
sizes = [60, 120, 240]
rng = np.random.default_rng(0)
draws = [rng.permutation(len(y)) for _ in range(3)]

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
looks = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"))
for (name, encoder), (color, marker, line) in zip(encoders.items(), looks, strict=True):
    est = MNLClassifier(
        encoders={"pix": encoder, "mor": LinearEncoder()}, max_epochs=30, lr=0.01, random_state=0
    )
    scores = np.array(
        [
            [est.fit(X_new.iloc[d[:n]], y[d[:n]]).score(X_new.iloc[d[n:]], y[d[n:]]) for n in sizes]
            for d in draws
        ]
    )
    ax.plot(sizes, scores.mean(axis=0), line, color=color, label=name)
    ax.plot(sizes, scores.T, marker, color=color, alpha=0.5)
    print(f"{name:<28}{scores.mean(axis=0).round(3).tolist()}")
ax.set(xlabel="labelled rows of the new task", ylabel="accuracy on all others", xticks=sizes)
ax.grid(axis="y", color="#E3E3E3")
ax.legend(loc="lower right")
plt.show()

# %%
# With few labels, an encoder that has seen many is worth more than one that has to start anew.
