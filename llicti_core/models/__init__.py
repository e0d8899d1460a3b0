"""Models: finding the one a file asks for, and what one is made of."""

from llicti_core.models.registry import (
    ALIASES,
    DEFAULT,
    Layer,
    Model,
    ModelSpec,
    available,
    input_size,
    load,
    load_exact,
    output_size,
    read_model,
    within_bounds,
    write_model,
)

__all__ = [
    "ALIASES",
    "DEFAULT",
    "Layer",
    "Model",
    "ModelSpec",
    "available",
    "input_size",
    "load",
    "load_exact",
    "output_size",
    "read_model",
    "within_bounds",
    "write_model",
]
