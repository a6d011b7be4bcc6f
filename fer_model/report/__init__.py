"""Tables and cards, filled from results/."""
