"""`NamedTuple`: typing's for type checkers, and at run time one that takes a tenth of the time to define a class.

Opening a small file defines some twenty of them; with typing's, that alone is 6 % of the time that a new process takes
to open it. It has what is used of typing's: fields, defaults, `_replace`, `_asdict`, `_fields`, pickling.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from operator import itemgetter

    class _Signature:
        """What `inspect.signature`, and so `help`, shows of a class; made when it is asked for."""

        def __get__(self, instance, cls):
            from inspect import Parameter, Signature

            default = cls._field_defaults
            return Signature(
                Parameter(
                    name,
                    Parameter.POSITIONAL_OR_KEYWORD,
                    default=default.get(name, Parameter.empty),
                    annotation=cls.__annotations__[name],
                )
                for name in cls._fields
            )

    class NamedTuple(tuple):
        """A tuple whose items are also attributes: those that a subclass annotates, in that order."""

        __slots__ = ()
        __signature__ = _Signature()
        _fields = ()

        def __init_subclass__(cls):
            cls._fields = tuple(cls.__annotations__)
            cls._field_defaults = {name: vars(cls)[name] for name in cls._fields if name in vars(cls)}
            cls.__match_args__ = cls._fields
            for place, name in enumerate(cls._fields):
                setattr(cls, name, property(itemgetter(place)))

        def __new__(cls, *values, **named):
            if named or len(values) != len(cls._fields):
                values = cls._complete(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _complete(cls, values, named):
            """All values in order, from those given in order and by name and the defaults. Raises TypeError."""
            given = dict(zip(cls._fields, values, strict=False))
            found = {**cls._field_defaults, **given, **named}
            wrong = [name for name in named if name in given or name not in cls._fields]
            wrong += [name for name in cls._fields if name not in found]
            if wrong or len(values) > len(cls._fields):
                msg = f"{cls.__name__} takes {', '.join(cls._fields)}; wrong, missing or given twice: {wrong or values}"
                raise TypeError(msg)
            return [found[name] for name in cls._fields]

        @classmethod
        def _make(cls, values):
            return cls(*values)

        def _replace(self, **named):
            return type(self)(**{**self._asdict(), **named})

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self):
            return tuple(self)

        def __setattr__(self, name, value):
            msg = f"a {type(self).__name__} cannot be changed"
            raise AttributeError(msg)

        def __repr__(self):
            values = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({values})"
