"""Studies: short trainings that differ in one change."""
