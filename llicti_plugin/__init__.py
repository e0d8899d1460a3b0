"""The public face of the plugin package: `register()`."""

__all__ = ["register"]


def register() -> None:
    """Register the `.llc` format with Pillow, imageio and mimetypes: now if imported already, else on their import.

    An installation does this by itself at interpreter start. It is for processes where that is switched off
    (`LLICTI_AUTOLOAD=0`, `python -S`) or did not happen. Calling it again does no harm.
    """
    from .autoload import arm

    arm()
