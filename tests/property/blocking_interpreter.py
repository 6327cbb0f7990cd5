"""The same programs as blocking code: a plain workflow that runs them by way of `everlog.sync`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, NoReturn

import everlog
from everlog import AskRefused, UsageError, sync, workflow
from tests.property.interpreter import (
    CHILDREN,
    Machine,
    Node,
    Observer,
    amends,
    interpret_child,
    limited,
    name_of,
    of_life,
    once,
    options_of,
    placed,
    plain,
    single_async,
    single_plain,
    told,
    work,
)


@workflow
def interpret_blocking(program: Node, other: str, base: str) -> list[Any]:
    """Run the program; give the trace, whatever happened. `base` is this workflow's id, `other` that of another."""
    machine = BlockingMachine(base, other, lambda node: sync.continue_as_new(interpret_blocking, node, other, base))
    try:
        machine.note("result", machine.run(program))
    except (Exception, asyncio.CancelledError) as error:
        machine.note("ended", name_of(error))
        if program.get("raises"):
            raise
    return machine.trace


@workflow
def interpret_child_blocking(program: Node, other: str) -> Any:
    """Run a part of a program as a child: give its value, or raise what it raised."""
    base = everlog.current().workflow_id
    machine = BlockingMachine(base, other, lambda node: sync.continue_as_new(interpret_child_blocking, node, other))
    return machine.run(program)


CHILDREN.append(interpret_child_blocking)


class BlockingMachine(Observer):
    """Runs the nodes of one program. Every kind of node that has a blocking form is a method."""

    def __init__(self, base: str, other: str, continue_with: Callable[[Node], NoReturn]) -> None:
        super().__init__(base, other, continue_with)
        self.futures: list[sync.Future[Any]] = []

    def run(self, node: Node) -> Any:
        """Run one node and give its value."""
        kind = node["do"]
        try:
            value = getattr(self, f"do_{kind}")(node)
        except (Exception, asyncio.CancelledError) as error:
            self.note(kind, node["id"], "raised", name_of(error))
            raise
        self.note(kind, node["id"], value)
        return value

    # -- what takes no part ------------------------------------------------------------------------------------------

    def do_sequence(self, node: Node) -> Any:
        value = 0
        for child in node["of"]:
            value = self.run(child)
        return value

    def do_sleep(self, node: Node) -> int:
        sync.sleep(node["seconds"])
        return 0

    def do_continue(self, node: Node) -> Any:
        return node["then"] and self.continue_with(node["then"])

    def do_draw(self, node: Node) -> list[Any]:
        return [sync.random().randrange(1000), str(sync.uuid4()), sync.now().isoformat()]

    def do_fail(self, node: Node) -> Any:
        raise self.failure()

    def do_scope(self, node: Node) -> Any:
        with everlog.scope(node["label"]):
            return self.run(node["body"])

    def do_guard(self, node: Node) -> Any:
        try:
            return self.run(node["body"])
        except Exception as error:
            self.note("caught", name_of(error))
            return -1
        finally:
            self.run(node["clean"])

    def do_swallow(self, node: Node) -> Any:
        try:
            return self.run(node["body"])
        except asyncio.CancelledError:
            return -2

    def do_undo(self, node: Node) -> Any:
        self.note("deadline", sync.current().deadline is not None)
        with sync.compensations() as undo:
            for number in range(node["most"]):
                undo.add(
                    amends.options(name=f"amends {node['id']}"), node["id"], number, node["seconds"], node["failures"]
                )
            return self.run(node["body"])

    # -- steps and messages ------------------------------------------------------------------------------------------

    def do_step(self, node: Node) -> Any:
        options, seen = options_of(node), len(self.trace)
        if node["how"] in ("async", "once"):
            given = of_life(limited if node.get("limited") else work if node["how"] == "async" else once, node)
            return sync.call(given.options(**options), node["value"], node["seconds"], node["failures"], seen)
        threaded = of_life(plain, node).options(**options)
        if node["how"] == "call":
            return sync.call(threaded, node["value"], node["failures"], seen)
        return threaded(node["value"], node["failures"], seen)

    def do_recv(self, node: Node) -> Any:
        topic, title = node["topic"], node.get("title")
        if node["default"]:
            return sync.recv(topic, type=int, timeout=node["seconds"] or 1, default=-3, title=title)
        return sync.recv(topic, type=int, timeout=node["seconds"], title=title)

    def do_send(self, node: Node) -> int:
        sync.send(self.names[node["to"]], node["topic"], len(self.trace), key=node.get("key"))
        return 0

    def do_ask(self, node: Node) -> Any:
        try:
            return sync.ask(self.names[node["to"]], node["topic"], len(self.trace), type=int, timeout=node["seconds"])
        except AskRefused as refused:
            return refused.reason

    def do_answer(self, node: Node) -> Any:
        request = sync.recv(node["topic"], type=sync.Request[int], timeout=node["seconds"])
        if node["how"] == "refuse":
            request.refuse("refused")
        elif node["how"] != "keep":
            request.reply(len(self.trace))
        if node["how"] == "twice":
            try:
                request.reply(-5)
            except UsageError:
                return [request.value, "once"]
        return request.value

    # -- children ----------------------------------------------------------------------------------------------------

    def do_enqueue(self, node: Node) -> Any:
        child = interpret_child.options(**placed(node["place"]))
        handle = sync.start(child, node["body"], self.names["other"])
        self.children.append(handle)
        return handle.result() if node["waits"] else handle.id

    def do_child(self, node: Node) -> Any:
        child = self.child(node)
        if node["how"] == "call":
            return sync.call(child, *self.given(node))
        handle = sync.start(child, *self.given(node))
        self.children.append(handle)
        return handle.result(timeout=node["seconds"]) if node["how"] == "result" else handle.id

    def do_ended(self, node: Node) -> Any:
        handle = self.started(node)
        return handle and told(handle.result(timeout=node["seconds"]))

    def do_stop(self, node: Node) -> Any:
        handle = self.started(node)
        return handle and handle.cancel()

    def do_tell(self, node: Node) -> Any:
        handle = self.started(node)
        return handle and handle.send(node["topic"], len(self.trace))

    def do_publish(self, node: Node) -> int:
        under, seen = node["under"], len(self.trace)
        try:
            if node["what"] == "value":
                sync.set_value(under, seen)
            elif node["what"] == "items":
                sync.emit(under, *range(seen, seen + node["count"]))
            else:
                sync.close_stream(under)
        except everlog.UsageError:
            return -4
        return seen

    # -- many at once ------------------------------------------------------------------------------------------------

    def do_map(self, node: Node) -> Any:
        if node["mixed"]:  # async branches, run by the async machine
            return sync.map(self.beside().run, node["of"], limit=node["most"])
        if not node["all"]:
            return sync.map(self.run, node["of"], limit=node["most"])

        def guarded(child: Node) -> Any:
            try:
                return self.run(child)
            except Exception as error:
                return told(error)

        return sync.map(guarded, node["of"], limit=node["most"])

    def do_spread(self, node: Node) -> Any:
        """Steps in branches of their own, without code around them."""
        singles = self.singles(node)
        if node["index"]:
            return sync.map(of_life(single_async, node), singles, limit=node["most"])
        return sync.map(of_life(single_plain, node), singles, limit=node["most"])

    def do_several(self, node: Node) -> Any:
        futures = [sync.submit(self.run, child) for child in node["of"]]
        self.futures += futures
        values: list[Any] = []
        for future in futures:
            try:
                values.append(future.result(timeout=node["seconds"]))
            except Exception as error:
                values.append(told(error))
        return [values, [future.done() for future in futures]]

    def do_spawn(self, node: Node) -> int:
        self.futures.append(sync.submit(self.run, node["body"]))
        return len(self.futures)

    def do_join(self, node: Node) -> Any:
        here = hash(asyncio.current_task())
        younger = [future for future in self.futures if hash(future._task) > here]  # never in a circle
        return younger[node["index"] % len(younger)].result() if younger else 0

    def do_cancel(self, node: Node) -> Any:
        return bool(self.futures) and self.futures[node["index"] % len(self.futures)].cancel()

    def do_generator(self, node: Node) -> Any:
        def numbers() -> Generator[Any]:
            try:
                for child in node["of"]:
                    yield self.run(child)
            finally:
                self.note("generator", "ends")
                self.run(node["clean"])

        values = []
        for number in numbers():
            values.append(number)
            if len(values) == node["most"]:
                break
        return values

    # -- limits ------------------------------------------------------------------------------------------------------

    def do_timeout(self, node: Node) -> Any:
        with sync.timeout(node["seconds"]):
            return self.run(node["body"])

    def beside(self) -> Machine:
        """Give an async machine that writes the same trace."""
        machine = Machine(self.names["self"], self.names["other"])
        machine.trace, machine.began = self.trace, self.began
        machine.tasks = [future._task for future in self.futures]
        machine.children = [handle._inner for handle in self.children]
        return machine
