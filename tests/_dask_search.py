"""What test_many_fits runs in a process of its own: a search alone, and on a dask cluster."""

import json
import sys
import warnings

import numpy as np
from dask.distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from sklearn_mmfusion import LateFusionClassifier, LinearEncoder, ModalityFrame


def main(folder):
    rng = np.random.default_rng(0)
    X = ModalityFrame({"a": rng.normal(size=(80, 3)), "b": rng.normal(size=(80, 2))})
    y = (X["a"][:, 0] + X["b"][:, 0] > 0).astype(int)
    estimator = LateFusionClassifier(encoders=LinearEncoder(), max_epochs=3, random_state=0)
    search = GridSearchCV(estimator, {"lr": [0.01, 0.1]}, cv=2)
    warnings.simplefilter("ignore")
    names = [f"split{i}_test_score" for i in range(2)]
    found = [[search.fit(X, y).cv_results_[name].tolist() for name in names]]
    # Two threads that fit at the same time in one process: dask's default, and the harder case.
    cluster = LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        dashboard_address=None,
        local_directory=folder,
    )
    with cluster, Client(cluster), parallel_config("dask", scatter=[X]):
        found.append([search.fit(X, y).cv_results_[name].tolist() for name in names])
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
