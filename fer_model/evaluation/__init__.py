"""How good a network is: predictions, scores, plots."""
