"""Every figure of speed and memory in one list: ratio, spread, target, and the machine it is from.

By default the scripts run first, one after the other, which takes about an hour and wants a
machine that does nothing else; ``--tables`` only reads the tables that are there, each with its own
date and machine. The table of a GPU is listed where there is one, and not run.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from _common import FOLDER, Report, make_parser

# Script -> what it is about, and further arguments.
SCRIPTS: dict[str, tuple[str, list[str]]] = {
    "epoch_speed": ("inner loop", []),
    "iterbn_growth": ("interaction features", []),
    "routing_speed": ("routing", []),
    "mult_speed": ("MulT features", []),
    "explain_speed": ("explanations", []),
    "inspection_speed": ("inspection", []),
    "together": ("many fits", []),
    "lazy": ("data beyond memory", ["--gigabytes", "20", "--written", "0.1"]),
    "footprint": ("start-up", []),
    "memory": ("memory of fit", []),
    "gpu": ("GPU", []),
}
NOT_RUN = ("gpu",)
COLUMNS = ("figure", "measured", "spread", "target", "reached")


def run(name: str, arguments: list[str]) -> bool:
    """Run a script, and say whether it ended well."""
    print(f"\n== {name}", flush=True)
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    return not subprocess.run(command, check=False).returncode


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the targets of a table, and the conditions of its run."""
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == "Targets"]
    targets: list[dict[str, Any]] = []
    for row in rows:
        values: dict[str, Any] = {column: row.get(column) or None for column in COLUMNS}
        if re.fullmatch(r"-?[\d.]+(e-?\d+)?", values["measured"]):
            values["measured"] = float(values["measured"])
        targets.append({**values, "reached": row["reached"] == "True"})
    lines = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line[:2] == "- "]
    known = {"command": "", "date": "", "code": "", "machine": ""}
    for line in lines:
        if line.startswith("command: "):
            known["command"] = line.removeprefix("command: ")
        elif line.startswith("date: "):
            known["date"], _, known["code"] = line.removeprefix("date: ").partition("; code ")
        elif "CPU" in line or "GPU" in line:
            known["machine"] = line
    return targets, known


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--tables", action="store_true", help="run nothing, read what is there")
    args = parser.parse_args()
    suffix = "-quick" * args.quick
    failed = []
    if not args.tables:
        common = ["--output", str(args.output), *["--quick"] * args.quick]
        failed = [
            name
            for name, (_, arguments) in SCRIPTS.items()
            if name not in NOT_RUN and not run(name, [*arguments, *common])
        ]
    report = Report("speed", "Speed and memory: every figure", args)
    figures: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    for name, (about, _) in SCRIPTS.items():
        path = args.output / f"{name}{suffix}.md"
        if not path.exists():
            sources.append({"table": name, "command": "no table"})
            continue
        targets, known = read(path)
        figures += [{"of": about, **target} for target in targets]
        sources.append({"table": name, **known})
    report.table("Targets", figures)
    reached = sum(row["reached"] for row in figures)
    report.text(
        f"{reached} of {len(figures)} reached. Measured is the median of ratios of times that were "
        "taken in turns, and the spread goes from the lowest to the highest of them, where the "
        "figure is such a ratio."
    )
    report.table("Where they are from", sources)
    report.write()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
