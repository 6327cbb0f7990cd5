"""Rules: what in the source of a workflow breaks determinism, and is seen without running it. They print nothing.

They are about what the guards do not see, or see only when the line is reached, and prefer to miss something to a false
alarm: what is not known for what it is (a variable, an object of somebody else) is let pass.
"""

from __future__ import annotations

import ast
import inspect
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from types import FunctionType
from typing import Any, Final, Literal

import msgspec

from everlog.cli.sets import Sets
from everlog.cli.sources import UNKNOWN, Named, Source, source_of
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.guards import CHANCE, CLOCK, GUARDED, IN_A_STEP, OF_THE_MACHINE, SLEEP, UUIDS

Rule = Literal["clock", "chance", "machine", "effect", "sleep", "thread", "order", "shared", "swallow", "await"]

THREADS: Final = (
    "what it does comes at another moment in each replay; use asyncio.gather, in a def workflow sync.map, or do it in a"
    " step"
)
IDENTITY: Final = "it is another number in each process; compare the values themselves"
SHARED: Final = (
    "other workflows and replays of this one see what was left there; keep it in a variable, a result or an argument"
)
SWALLOWS: Final = "it catches cancellation, and what drops the workflow from memory; catch Exception, or raise again"
AWAIT: Final = "nothing is done as long as nobody awaits it; write await"

_BY_ADVICE: Final[dict[str, Rule]] = {
    CLOCK: "clock",
    CHANCE: "chance",
    UUIDS: "chance",
    SLEEP: "sleep",
    OF_THE_MACHINE: "machine",
    IN_A_STEP: "effect",
}
_OTHERS: Final[dict[str, dict[str, str]]] = {
    CLOCK: {"datetime": "datetime.now datetime.utcnow datetime.today date.today"},
    CHANCE: {"random": "SystemRandom", "secrets": "SystemRandom"},
    OF_THE_MACHINE: {
        "os": "environ environb getenv getenvb getppid getlogin",
        "socket": "gethostname getfqdn",
        "platform": "node",
    },
    IN_A_STEP: {
        "builtins": "open input",
        "os": "system popen remove unlink rename replace mkdir makedirs rmdir listdir scandir walk",
        "os.path": "exists isfile isdir getsize getmtime",
        "subprocess": "run call check_call check_output Popen",
        "socket": "socket create_connection getaddrinfo gethostbyname",
        "shutil": "rmtree copy copy2 copyfile copytree move",
        "sqlite3": "connect",
        "urllib.request": "urlopen urlretrieve",
        "requests": "get post put patch delete head options request Session",
        "httpx": "get post put patch delete head options request stream Client AsyncClient",
        "aiohttp": "ClientSession",
        "smtplib": "SMTP SMTP_SSL",
    },
    THREADS: {
        "threading": "Thread Timer",
        "_thread": "start_new_thread",
        "concurrent.futures": "ThreadPoolExecutor ProcessPoolExecutor",
        "multiprocessing": "Process Pool",
    },
    IDENTITY: {"builtins": "id hash"},
}  # fmt: skip
_RULE_OF: Final[dict[str, Rule]] = {**_BY_ADVICE, THREADS: "thread", IDENTITY: "order"}
_NOT_CALLED: Final = ("os.environ", "os.environb")
_FILES: Final = frozenset(
    [
        "exists",
        "is_file",
        "is_dir",
        "stat",
        "open",
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "unlink",
        "iterdir",
    ]
)
_CHANGING: Final = frozenset(
    [
        "append",
        "extend",
        "insert",
        "add",
        "update",
        "setdefault",
        "pop",
        "popitem",
        "popleft",
        "appendleft",
        "remove",
        "discard",
        "clear",
        "sort",
    ]
)
_AWAITED: Final = frozenset(
    ["recv", "send", "ask", "start", "call", "sleep", "sleep_until", "set_value", "emit", "close_stream"]
)
_IGNORE: Final = re.compile(r"#\s*everlog:\s*ignore(?:\[(?P<rules>[\w, ]+)\])?")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a user's code, and what is wrong with it."""

    file: str
    line: int
    rule: Rule
    workflow: str
    """One that runs it."""
    what: str
    advice: str


def findings(workflows: Iterable[AnyWorkflow[..., Any]]) -> list[Finding]:
    """Judge the code of workflows, and of the functions that it calls; in the order of files and lines."""
    found: dict[tuple[str, int, str], Finding] = {}
    seen: set[FunctionType] = set()
    for workflow in sorted(workflows, key=lambda one: one.name):
        waiting = [source_of(workflow.__wrapped__, workflow.owner)]
        while waiting:
            source = waiting.pop()
            if source is None or source.function in seen:
                continue
            seen.add(source.function)
            for one in Judge(source, workflow.name).judged():
                found.setdefault((one.file, one.line, one.rule), one)
            waiting += _called(source)
    return sorted(found.values(), key=lambda one: (one.file, one.line, one.rule))


def _called(source: Source) -> list[Source | None]:
    """Give the functions of users that a function calls, which are no steps."""
    found: list[Source | None] = []
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        called = source.named(node.func).value
        if not isinstance(called, Definition | type):
            of = source.named(node.func.value).value if isinstance(node.func, ast.Attribute) else None
            found.append(source_of(getattr(called, "__func__", called), of if isinstance(of, type) else None))
    return found


@cache
def _known() -> tuple[dict[int, tuple[str, str]], dict[str, tuple[str, str]]]:
    """Give name and advice of what is not for workflow code, by object and by path."""
    by_path = {
        f"{module}.{name}": (f"{module}.{name}".removeprefix("builtins."), advice)
        for advice, modules in _OTHERS.items()
        for module, names in modules.items()
        for name in names.split()
    }
    by_object: dict[int, tuple[str, str]] = {}
    for path, found in by_path.items():
        module, _, name = path.rpartition(".")
        if module in sys.modules and hasattr(sys.modules[module], name):
            by_object[id(getattr(sys.modules[module], name))] = found
    for owner, name, told, advice in GUARDED:
        by_path[told] = (told, advice)
        value = getattr(owner, name, None)
        if value is not None and not name.startswith("__"):
            by_object[id(value)] = (told, advice)
    return by_object, by_path


class Judge:
    """The judgement of one function."""

    def __init__(self, source: Source, workflow: str) -> None:
        self._source = source
        self._workflow = workflow
        self._sets = Sets(source)
        names = [node for node in ast.walk(source.tree) if isinstance(node, ast.Name)]
        self._stored: Final = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
        self._read: Final = {node.id for node in names if isinstance(node.ctx, ast.Load)}

    def judged(self) -> Iterator[Finding]:
        """Give what is wrong with it, less what a comment lets pass."""
        rules: list[Callable[[ast.AST], Iterator[tuple[ast.AST, Rule, str, str]]]] = [
            self._calls,
            self._environment,
            self._orders,
            self._shares,
            self._swallows,
            self._never_awaits,
        ]
        for node in ast.walk(self._source.tree):
            if node in self._source.tree.decorator_list:
                continue
            for rule in rules:
                for place, name, what, advice in rule(node):
                    if not self._is_ignored(place, name):
                        yield Finding(
                            file=self._source.file,
                            line=_line(place),
                            rule=name,
                            workflow=self._workflow,
                            what=what,
                            advice=advice,
                        )

    def _is_ignored(self, node: ast.AST, rule: Rule) -> bool:
        """Tell whether a comment says so: where it begins or ends, or where the function begins."""
        block: list[ast.stmt] = getattr(node, "body", [])
        end: int | None = block[0].lineno - 1 if block else getattr(node, "end_lineno", None)
        lines = {_line(node), max(end or 0, _line(node)), self._source.tree.lineno}
        for line in lines:
            comment = _IGNORE.search(self._source.lines[line - 1])
            if comment and (comment["rules"] is None or rule in re.split(r"[,\s]+", comment["rules"].strip())):
                return True
        return False

    def _found(self, node: ast.expr) -> tuple[str, str] | None:
        """Tell under which name an expression is not for workflow code, and what to do instead."""
        by_object, by_path = _known()
        named = self._source.named(node)
        if named.value is UNKNOWN:
            return None
        return by_object.get(id(named.value)) or by_path.get(named.path)

    # -- calls -------------------------------------------------------------------------------------------------------

    def _calls(self, node: ast.AST) -> Iterator[tuple[ast.AST, Rule, str, str]]:
        if not isinstance(node, ast.Call):
            return
        found = self._found(node.func)
        if found is not None:
            yield node, _RULE_OF[found[1]], f"{found[0]}()", found[1]
        named = self._source.named(node.func)
        if named.value is random.Random and not node.args and not node.keywords:
            yield node, "chance", "random.Random() without a seed", CHANCE
        match node.func:
            case ast.Attribute(value=ast.Call(func=made), attr=method) if method in _FILES:
                if self._source.named(made).path in ("pathlib.Path", "pathlib._local.Path"):
                    yield node, "effect", f"Path(...).{method}()", IN_A_STEP
            case _:
                pass

    def _environment(self, node: ast.AST) -> Iterator[tuple[ast.AST, Rule, str, str]]:
        if isinstance(node, ast.Name | ast.Attribute):
            found = self._found(node)
            if found is not None and found[0] in _NOT_CALLED:
                yield node, "machine", found[0], OF_THE_MACHINE

    # -- order -------------------------------------------------------------------------------------------------------

    def _orders(self, node: ast.AST) -> Iterator[tuple[ast.AST, Rule, str, str]]:
        for place, what in self._sets.orders(node):
            yield place, "order", what, "strings come in another order in each process; iterate over sorted(...)"

    # -- what is shared ----------------------------------------------------------------------------------------------

    def _shares(self, node: ast.AST) -> Iterator[tuple[ast.AST, Rule, str, str]]:
        match node:
            case ast.Global(names=names):
                for name in [name for name in names if name in self._stored]:
                    yield node, "shared", f"sets the global {name!r}", SHARED
            case ast.Call(func=ast.Attribute(value=of, attr=method)) if method in _CHANGING:
                if found := self._shared(of):
                    yield node, "shared", f"changes {found} ({method})", SHARED
            case ast.Subscript(value=of, ctx=ast.Store() | ast.Del()):
                if found := self._shared(of):
                    yield node, "shared", f"changes {found}", SHARED
            case _:
                pass

    def _shared(self, node: ast.expr) -> str | None:
        """Tell what outlives the workflow: a container of a module or a class, or one that is a default."""
        found: Named = self._source.named(node)
        if isinstance(found.value, list | dict | set | bytearray) or type(found.value).__name__ == "deque":
            return f"{ast.unparse(node)!r}, which belongs to the module"
        if isinstance(node, ast.Name):
            arguments = self._source.tree.args
            plain = [*arguments.posonlyargs, *arguments.args]
            defaults: list[tuple[ast.arg, ast.expr | None]] = [
                *zip(plain[len(plain) - len(arguments.defaults) :], arguments.defaults, strict=True),
                *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
            ]
            mutable = {one.arg for one, default in defaults if isinstance(default, ast.List | ast.Dict | ast.Set)}
            if node.id in mutable - self._stored:
                return f"{node.id!r}, whose default is the same object in all calls"
        return None

    # -- what is swallowed, and what is never awaited ----------------------------------------------------------------

    def _swallows(self, node: ast.AST) -> Iterator[tuple[ast.AST, Rule, str, str]]:
        match node:
            case ast.Try() | ast.TryStar():
                if not self._waits(node.body):
                    return
                for handler in node.handlers:
                    if self._catches_all(handler.type) and not _raises(handler.body):
                        caught = "except:" if handler.type is None else f"except {ast.unparse(handler.type)}:"
                        yield handler, "swallow", caught, SWALLOWS
            case ast.With() if self._waits(node.body):
                for item in node.items:
                    match item.context_expr:
                        case ast.Call(func=of, args=args) if self._source.named(of).path == "contextlib.suppress":
                            if any(self._catches_all(one) for one in args):
                                yield node, "swallow", ast.unparse(item.context_expr), SWALLOWS
                        case _:
                            pass
            case _:
                pass

    def _catches_all(self, caught: ast.expr | None) -> bool:
        if caught is None:
            return True
        several = caught.elts if isinstance(caught, ast.Tuple) else [caught]
        return any(self._source.named(one).value is BaseException for one in several)

    def _waits(self, body: list[ast.stmt]) -> bool:
        """Tell whether something durable happens in a block, for all that is known."""
        inner = [node for statement in body for node in ast.walk(statement)]
        if self._source.is_async:
            return any(isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) for node in inner)
        called = [self._source.named(node.func) for node in inner if isinstance(node, ast.Call)]
        return any(isinstance(one.value, Definition) or one.path.startswith("everlog.") for one in called)

    def _never_awaits(self, node: ast.AST) -> Iterator[tuple[ast.AST, Rule, str, str]]:
        match node:
            case ast.Expr(value=ast.Call(func=of) as call):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=of) as call):
                if name in self._read:
                    return
            case _:
                return
        if self._source.is_async and self._is_awaited(of):
            yield call, "await", f"{ast.unparse(of)}(...) without await", AWAIT

    def _is_awaited(self, node: ast.expr) -> bool:
        named = self._source.named(node)
        value: object = inspect.unwrap(named.value) if callable(named.value) else None
        if not isinstance(value, FunctionType):
            return False
        ours = value.__module__ == "everlog.replay.primitives" and value.__name__ in _AWAITED
        return ours or bool(value.__code__.co_flags & _COROUTINE)


_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE


def _raises(body: list[ast.stmt]) -> bool:
    return any(isinstance(inner, ast.Raise) for statement in body for inner in ast.walk(statement))


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 1))
