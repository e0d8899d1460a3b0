"""The exceptions of the package: one family, rooted at LLCError."""


class LLCError(ValueError):
    """Anything wrong with a `.llc` file, or with what was asked to be stored in one."""


class FormatError(LLCError):
    """The bytes are not a valid `.llc` file: bad signature, structure, checksum or coded data."""


class TruncatedError(FormatError):
    """The file ends before its data does."""


class UnknownModelError(LLCError):
    """The model that a file or a caller names is not installed."""


class UnsupportedError(LLCError):
    """The pixels, or the file, need a feature that this version does not have."""


class DeviceError(LLCError):
    """The GPU asked for cannot be used, or failed: no driver or none of the packages it takes, no memory left, a kernel
    that cannot be compiled. What was asked for may work on the CPU."""
