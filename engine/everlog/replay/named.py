"""Named: workflows whose code is elsewhere, known here by their names in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from everlog.core.codec import ANY
from everlog.core.elsewhere import Elsewhere
from everlog.errors import WrongContext
from everlog.replay.definitions import Workflow

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


@overload
def named(name: str, /) -> Workflow[..., Any]: ...
@overload
def named(name: str, /, *, type: TypeForm[T]) -> Workflow[..., T]: ...
def named(name: str, /, *, type: Any = ANY) -> Workflow[..., Any]:
    """Give a workflow by its name in the log, to be started here and run by a process that has its code.

    Its arguments are checked where it runs; its result is read as `type`, any type form. Of a method of a registered
    object the name is that of the method, an `@` and that of the object: `Shop.checkout@eu`.
    """

    # Its name is what messages that speak of a workflow in the code call it.
    async def elsewhere(*args: object, **kwargs: object) -> Any:
        raise WrongContext(f"the code of workflow {name!r} is elsewhere: start it, and an engine that has it runs it")

    elsewhere.__module__ = "builtins"  # the package of a definition is one whose exceptions are rebuilt
    elsewhere.__name__ = elsewhere.__qualname__ = f"everlog.named({name!r})"
    made: Workflow[..., Any] = Workflow(elsewhere, name=name, is_here=False)
    made.signature = Elsewhere(type)
    return made
