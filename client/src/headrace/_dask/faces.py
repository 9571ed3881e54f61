"""Methods with two faces: they wait for the result, or return a coroutine if the object is asynchronous.

Such a method is written once, as a coroutine function or as an asynchronous generator. Its type follows the type
argument of the class: methods of `Gateway`, which is short for ``Gateway[Literal[False]]``, return values, and those of
``Gateway[Literal[True]]`` coroutines of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from distributed.utils import SyncMethodMixin

from headrace._dask.session import Session
from headrace.arguments import brief, check_arguments, checked, hides_frames
from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault  # type checkers bring it along

    # The constraints make type checkers infer Literal[True] from the argument asynchronous=True.
    Asynchronous = TypeVarWithDefault("Asynchronous", Literal[False], Literal[True], bool, default=Literal[False])
    Mode = TypeVarWithDefault("Mode", Literal[False], Literal[True], bool, default=Literal[False])
else:
    Asynchronous = TypeVar("Asynchronous", bound=bool)
    Mode = TypeVar("Mode", bound=bool)

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TwoFaced(SyncMethodMixin, Generic[Asynchronous]):
    """Base of classes with such methods."""

    _session: Session
    _asynchronous: bool

    def sync(self, func: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> Any:
        self._session.check_process()
        return super().sync(func, *args, **kwargs)

    def _iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """Iterate in this thread over what is generated on the loop."""
        __tracebackhide__ = hides_frames()
        try:
            while True:
                try:
                    yield self.sync(items.__anext__)
                except StopAsyncIteration:
                    return
        except HeadraceError as error:
            raise brief(error)  # noqa: B904 - it is the same error
        finally:
            with suppress(RuntimeError):
                self.sync(items.aclose)


class BothFaces(Protocol[P, T_co]):
    """The type of a method that returns a value."""

    @overload
    def __get__(self, instance: TwoFaced[Literal[False]], owner: type) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, instance: TwoFaced[Literal[True]], owner: type) -> Callable[P, Coroutine[Any, Any, T_co]]: ...
    @overload
    def __get__(self, instance: TwoFaced[bool], owner: type) -> Callable[P, T_co | Coroutine[Any, Any, T_co]]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...


async def briefly(awaitable: Awaitable[T]) -> T:
    """Await; our errors are raised `brief`."""
    __tracebackhide__ = hides_frames()
    try:
        return await awaitable
    except HeadraceError as error:
        raise brief(error)  # noqa: B904 - it is the same error


def returns_either(function: Callable[Concatenate[Any, P], Awaitable[T] | T]) -> BothFaces[P, T]:
    """Give the type of both faces to a method that has them already, and check its arguments."""

    @functools.wraps(function)
    def method(self: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        result = function(self, *args, **kwargs)
        return briefly(result) if inspect.iscoroutine(result) else result

    return cast("BothFaces[P, T]", checked(method))


def both_faces(function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> BothFaces[P, T]:
    """Give a coroutine function both faces, and check its arguments. It runs on the object's event loop."""

    @functools.wraps(function)
    def method(self: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        __tracebackhide__ = hides_frames()
        try:
            check_arguments(function, (self, *args), kwargs)
            result = self.sync(function, self, *args, **kwargs)
            return briefly(result) if inspect.iscoroutine(result) else result
        except HeadraceError as error:
            raise brief(error)  # noqa: B904 - it is the same error

    return cast("BothFaces[P, T]", method)


class BothIterators(Protocol[P, T_co]):
    """The type of a method that returns an iterator."""

    @overload
    def __get__(self, instance: TwoFaced[Literal[False]], owner: type) -> Callable[P, Iterator[T_co]]: ...
    @overload
    def __get__(self, instance: TwoFaced[Literal[True]], owner: type) -> Callable[P, AsyncIterator[T_co]]: ...
    @overload
    def __get__(self, instance: TwoFaced[bool], owner: type) -> Callable[P, Iterator[T_co] | AsyncIterator[T_co]]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...


def both_iterators(function: Callable[Concatenate[Any, P], AsyncGenerator[T, None]]) -> BothIterators[P, T]:
    """Give an asynchronous generator function both faces, and check its arguments. It runs on the object's loop."""

    @functools.wraps(function)
    def method(self: TwoFaced[bool], *args: P.args, **kwargs: P.kwargs) -> object:
        check_arguments(function, (self, *args), kwargs)
        items = function(self, *args, **kwargs)
        return _each_briefly(items) if self.asynchronous else self._iterate(items)  # pyright: ignore[reportPrivateUsage]

    return cast("BothIterators[P, T]", checked(method))


async def _each_briefly(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    __tracebackhide__ = hides_frames()
    try:
        async with aclosing(items):
            async for item in items:
                yield item
    except HeadraceError as error:
        raise brief(error)  # noqa: B904 - it is the same error
