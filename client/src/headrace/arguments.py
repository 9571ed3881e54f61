"""Types of arguments, checked against the annotations of public functions: an error names the wrong argument."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, ParamSpec, TypeVar, cast

from headrace.errors import HeadraceError, Violation, WrongType

P = ParamSpec("P")
T = TypeVar("T")

_SECRETS = {"password", "token", "api_token"}
_WORDS = {str: "text", bool: "True or False", int: "a whole number", float: "a number", types.NoneType: "None"}


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Check the arguments of a function before each call; see `check_arguments`. Our errors are raised `brief`."""

    @functools.wraps(function)
    def checking(*args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = hides_frames()
        try:
            check_arguments(function, args, kwargs)
            return function(*args, **kwargs)
        except HeadraceError as error:
            raise brief(error)  # noqa: B904 - it is the same error

    return checking


def brief(error: HeadraceError) -> HeadraceError:
    """Return the error without the frames of our own code, which tell users nothing; HEADRACE_DEBUG=1 keeps them."""
    return error.with_traceback(None) if hides_frames() else error


def hides_frames() -> bool:
    """Whether tracebacks leave our frames out. IPython leaves out those with `__tracebackhide__`, but for the last."""
    return not os.environ.get("HEADRACE_DEBUG")


def check_arguments(function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]) -> None:
    """Check arguments against the annotations of a function. Values that need more than a type are checked later.

    Raises
    ------
    WrongType
        An argument has a wrong type; the error names it.
    """
    signature, hints = _declared(function)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return  # the call itself says it best
    for name, value in given.items():
        if name in hints:
            check_type(name, value, hints[name])


def check_type(name: str, value: object, hint: object) -> None:
    """Check one argument.

    Raises
    ------
    WrongType
        The value does not fit the annotation.
    """
    if not _fits(value, hint):
        shown = "" if name in _SECRETS else f" {_shown(value)}"
        raise WrongType.of(Violation(name, f"must be {_describe(hint)}, is{shown} ({type(value).__name__})"))


@functools.cache
def _declared(function: Callable[..., object]) -> tuple[inspect.Signature, Mapping[str, object]]:
    signature, hints = inspect.signature(function), typing.get_type_hints(function)
    variadic = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    names = {name for name, parameter in signature.parameters.items() if parameter.kind not in variadic}
    return signature, {name: hint for name, hint in hints.items() if name in names}


def _fits(value: object, hint: Any) -> bool:
    if hint is Any or hint is object:
        return True
    if isinstance(hint, TypeVar):
        return hint.__bound__ is None or _fits(value, hint.__bound__)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        return _is_a(value, hint)
    if origin in {typing.Union, types.UnionType}:
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is type:
        return isinstance(value, type) and issubclass(value, inner)
    return _is_container(value, origin, inner)


def _is_a(value: object, cls: type) -> bool:
    if cls is bool:
        # NumPy's booleans, and 0 and 1.
        return isinstance(value, bool) or (type(value).__name__ in {"int", "bool", "bool_"} and value in {0, 1})
    if cls in {int, float}:
        # Which numbers are whole is checked with their bounds.
        return not isinstance(value, bool) and (isinstance(value, numbers.Real) or hasattr(value, "__index__"))
    return isinstance(value, cls)


def _is_container(value: object, origin: Any, inner: tuple[Any, ...]) -> bool:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence if origin is tuple else origin):
        return False
    if isinstance(value, Mapping) and len(inner) == 2:
        items = cast("Mapping[object, object]", value).items()
        return all(_fits(key, inner[0]) and _fits(item, inner[1]) for key, item in items)
    if origin is tuple:
        values = cast("Sequence[object]", value)
        return len(values) == len(inner) and all(map(_fits, values, inner))
    if isinstance(value, Sequence | AbstractSet | Mapping):  # others can be read only once
        return all(_fits(item, inner[0]) for item in cast("Iterable[object]", value))
    return True


def _describe(hint: Any) -> str:
    if isinstance(hint, TypeVar):
        return _describe(hint.__bound__)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        return _WORDS.get(hint) or f"{'an' if hint.__name__[0] in 'AEIO' else 'a'} {hint.__name__}"
    if origin in {typing.Union, types.UnionType}:
        *first, last = dict.fromkeys(_describe(one) for one in inner)
        return f"{', '.join(first)} or {last}" if first else last
    if origin is type:
        return f"a subclass of {inner[0].__name__}"
    if origin is Literal:
        return " or ".join(map(repr, inner))
    parts = " and ".join(_describe(one) for one in inner if one not in {object, Any})
    kind = "a pair" if origin is tuple else "a mapping" if len(inner) == 2 else "a list"
    return f"{kind} of {parts}" if parts else kind


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except Exception:  # noqa: BLE001 - the user's object, whatever is wrong with it
        return f"an object of {type(value).__name__}"
