"""What models may be called."""

from llicti_core.spec import MAX_MODEL_NAME, MODEL_NAME_CHARACTERS, MODEL_NAME_SEPARATORS

_CHARACTERS = frozenset(MODEL_NAME_CHARACTERS + MODEL_NAME_SEPARATORS)


def is_model_name(name: str) -> bool:
    """Whether `name` is 1 to 32 letters, digits, dots, hyphens and underscores, a letter or digit first."""
    # Without a regular expression, which takes longer to compile than a small image to be decoded.
    possible = 1 <= len(name) <= MAX_MODEL_NAME and set(name) <= _CHARACTERS
    return possible and name[0] not in MODEL_NAME_SEPARATORS
