"""How much memory there is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["available_memory"]

_MEMINFO = Path("/proc/meminfo")


def available_memory() -> int | None:
    """Return the bytes that could be had now, swap included; None where nobody tells."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    if "MemAvailable" not in found:
        return None
    return found["MemAvailable"] + found.get("SwapFree", 0)
