"""Trials of a whole farm: chaos (faults in mid-work, judged by a checker) and soak (nothing grows in an hour)."""
