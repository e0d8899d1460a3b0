"""Training: float network with quantisation in the loop, data, trainer, export to integers (needs torch)."""
