"""How much memory there is."""

from sklearn_mmfusion._training import available_memory as module
from sklearn_mmfusion._training.available_memory import available_memory


def test_available_memory_counts_swap_and_needs_no_procfs(tmp_path, monkeypatch):
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 100 kB\nMemAvailable: 40 kB\nSwapFree: 2 kB\n")
    monkeypatch.setattr(module, "_MEMINFO", table)
    assert available_memory() == 42 * 1024
    table.write_text("MemTotal: 100 kB\n")
    assert available_memory() is None
    table.unlink()
    assert available_memory() is None
