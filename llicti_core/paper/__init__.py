"""The paper's own codec, rebuilt from its description for comparison: float networks and torchac (needs both).

Kamisli, "Learned Lossless Image Compression Through Interpolation With Low Complexity", IEEE TCSVT 2023,
arXiv 2212.13243. Its files are no .llc files, and as its arithmetic is float, they decode only where the
networks give the same floats as in the encoder.
"""
