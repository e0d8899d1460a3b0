"""The public face of the plugin package: to import it registers the `.llc` format, as `register()` does again."""

from .autoload import arm

__all__ = ["register"]


def register() -> None:
    """Register the `.llc` format with Pillow, imageio and mimetypes: now if imported already, else on their import.

    An installation does this by itself at interpreter start, and `import llicti_plugin` does it too, for processes
    where that is switched off (`LLICTI_AUTOLOAD=0`, `python -S`) or did not happen. Calling it again does no harm, and
    helps where a library has been reloaded and so forgot the format.
    """
    arm()


register()
