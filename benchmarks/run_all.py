"""Run every benchmark, one after the other, and say which of them failed.

Arguments go to every script; those that need real data run only if the environment variable
MMFUSION_DATA is set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SYNTHETIC = (
    "iterbn", "epoch_speed", "compile", "precision", "together", "mult_speed", "routing_speed",
    "explain_speed", "inspection_speed",
    "sklearn_checks",
    "recovery", "recovery_classes", "small_data", "synthgene", "synthgene_tri", "routing_tri",
    "reliability_files", "reliability_faults",
)  # fmt: skip
REAL = (
    "real_data", "avdigits", "relevance_real", "encoder_ablation", "routing_real",
    "estimator_encoder", "compare",
)  # fmt: skip


def main() -> None:
    """Run."""
    names = SYNTHETIC + (REAL if os.environ.get("MMFUSION_DATA") else ())
    if names == SYNTHETIC:
        print("MMFUSION_DATA is not set: without", ", ".join(REAL))
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        script = Path(__file__).with_name(f"{name}.py")
        if subprocess.run([sys.executable, script, *sys.argv[1:]], check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
