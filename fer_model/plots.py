def training_curves(history, path): pass
