"""What airspeed velocity follows from commit to commit: ratios, and the quality of fits."""
