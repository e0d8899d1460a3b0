"""Training: the float network with quantisation in the loop, its data, the trainer, and export to integers (needs torch)."""
