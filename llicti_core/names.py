"""What models may be called."""

import re

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


def is_model_name(name: str) -> bool:
    """Whether `name` is 1 to 32 letters, digits, dots, hyphens and underscores, a letter or digit first."""
    return _MODEL_NAME.fullmatch(name) is not None
