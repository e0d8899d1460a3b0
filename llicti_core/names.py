"""What models may be called."""

import re

from llicti_core.spec import MODEL_NAME

_MODEL_NAME = re.compile(MODEL_NAME)


def is_model_name(name: str) -> bool:
    """Whether `name` is 1 to 32 letters, digits, dots, hyphens and underscores, a letter or digit first."""
    return _MODEL_NAME.fullmatch(name) is not None
