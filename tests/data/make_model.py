"""Write the kept file of the present format version, once, before that version is released.

The files of earlier versions stay as they are: that they load is what they are for.
"""

import json
from pathlib import Path

import numpy as np

from sklearn_mmfusion import InTenseClassifier, LinearEncoder
from sklearn_mmfusion._persistence.files import FORMAT_VERSION


def main():
    rng = np.random.default_rng(0)
    X = {"text": rng.normal(size=(60, 3)), "audio": rng.normal(size=(60, 2))}
    y = np.array(["no", "yes"])[(X["text"][:, 0] + X["text"][:, 1] * X["audio"][:, 0] > 0) * 1]
    est = InTenseClassifier(
        encoders=LinearEncoder(output_dim=2), latent_dim=2, p=2, reg=0.01, random_state=0
    ).fit(X, y)
    stem = Path(__file__).parent / f"model_v{FORMAT_VERSION}"
    est.save(stem.with_suffix(".safetensors"))
    rows = {name: value[:5].round(3).tolist() for name, value in X.items()}
    expected = {
        "X": rows,
        "proba": est.predict_proba({k: np.array(v) for k, v in rows.items()}).tolist(),
        "relevance": est.relevance_scores_,
    }
    stem.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
