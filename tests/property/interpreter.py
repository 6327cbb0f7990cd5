"""The workflow that runs a program given as data, and writes down everything that it can observe while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import timedelta
from typing import Any, NoReturn

import anyio

import everlog
from everlog import AskRefused, Definition, Queue, Request, RetryPolicy, UsageError, step, workflow
from everlog.replay.context import attempt

Node = dict[str, Any]

runs: list[tuple[str, str, int]] = []
"""Workflow id, identity and number of every attempt of a step that was begun in this process."""

steps_are_forbidden = False
"""Set where histories are replayed: a step that runs there is a defect."""


class Broken(Exception):
    """What a program raises on purpose."""


def note_attempt() -> int:
    """Take note that an attempt has begun; give its number."""
    if steps_are_forbidden:
        raise SystemExit("a step was run in a replay")
    running = attempt.get()
    assert running is not None
    runs.append((running.workflow_id, running.identity, running.number))
    return running.number


@step
async def work(value: int, delay: float, failures: int, seen: int) -> int:
    """Take `delay` seconds; fail in the first `failures` attempts."""
    number = note_attempt()
    await asyncio.sleep(delay)
    if number <= failures:
        raise Broken(f"work {value}")
    return value


@step
def plain(value: int, failures: int, seen: int) -> int:
    """The same in a thread, at once."""
    if note_attempt() <= failures:
        raise ValueError(f"plain {value}")
    return value


@step(at_most_once=True)
async def once(value: int, delay: float, failures: int, seen: int) -> int:
    """The same as `work`, but an attempt that was cut short is not begun again."""
    number = note_attempt()
    await asyncio.sleep(delay)
    if number <= failures:
        raise Broken(f"once {value}")
    return value


QUEUES = {
    "narrow": Queue("narrow", concurrency=1),
    "fair": Queue("fair", concurrency=3, partition_concurrency=1),
    "open": Queue("open"),
}


@step(limit=QUEUES["narrow"])
async def limited(value: int, delay: float, failures: int, seen: int) -> int:
    """The same as `work`, for which a slot of a queue has to be had."""
    number = note_attempt()
    await asyncio.sleep(delay)
    if number <= failures:
        raise Broken(f"limited {value}")
    return value


@step
def single_plain(values: list[int]) -> int:
    """Give the first of these."""
    note_attempt()
    return values[0]


@step
async def single_async(values: list[int]) -> int:
    """The same on the loop."""
    note_attempt()
    return values[0]


@step
async def amends(which: int, number: int, delay: float, failures: int) -> None:
    """Undo something; the first one fails where any does."""
    note_attempt()
    await asyncio.sleep(delay)
    if failures and not number:
        raise Broken(f"amends {which}")


@workflow
async def interpret(program: Node, other: str, base: str) -> list[Any]:
    """Run the program; give the trace, whatever happened. `base` is this workflow's id, `other` that of another."""
    machine = Machine(base, other, lambda node: everlog.continue_as_new(interpret, node, other, base))
    try:
        machine.note("result", await machine.run(program))
    except (Exception, asyncio.CancelledError) as error:
        machine.note("ended", name_of(error))
        if program.get("raises"):
            raise
    return machine.trace


@workflow
async def interpret_child(program: Node, other: str) -> Any:
    """Run a part of a program as a child: give its value, or raise what it raised."""
    base = everlog.current().workflow_id
    return await Machine(base, other, lambda node: everlog.continue_as_new(interpret_child, node, other)).run(program)


CHILDREN: list[Definition[..., Any]] = [interpret_child]
"""What runs a child, by colour; the other one is in `blocking_interpreter`."""


def name_of(error: BaseException) -> Any:
    """Give the type of an exception, and of those in a group in order."""
    if isinstance(error, BaseExceptionGroup):
        return [type(error).__name__, *[name_of(one) for one in error.exceptions]]
    return type(error).__name__


def told(outcome: Any) -> Any:
    """Give a value as it is, an exception by name."""
    return name_of(outcome) if isinstance(outcome, BaseException) else outcome


class Observer:
    """Writes down what can be observed, in either colour."""

    def __init__(self, base: str, other: str, continue_with: Callable[[Node], NoReturn]) -> None:
        self.continue_with = continue_with
        self.trace: list[Any] = []
        self.names = {"self": base, "other": other, "nobody": f"{base}-nobody"}
        self.began = everlog.now()
        self.children: list[Any] = []
        """Handles of workflows that were started."""

    def note(self, *what: Any) -> None:
        """Write down what was observed, and when by the time of the log."""
        self.trace.append([(everlog.now() - self.began) // timedelta(microseconds=1), *what])

    def singles(self, node: Node) -> list[list[int]]:
        """Give the inputs of the steps of a spread."""
        return [[value, len(self.trace)] for value in range(node["value"] % 4)]

    def child(self, node: Node) -> Any:
        """Give the workflow that runs a child, with its options. One that shares its id may find another's there."""
        child: Any = CHILDREN[node["colour"]]
        called = node.get("called")
        options = {"id": f"shared-{called}"} if called else {}
        return child.options(when_parent_ends=node["when_parent_ends"], **options, **placed(node.get("place")))

    def given(self, node: Node) -> tuple[Node, str]:
        """Give the input of a child."""
        return node["body"], "" if node.get("called") else self.names["other"]

    def started(self, node: Node) -> Any:
        """Give the handle that a node speaks of; None where nothing was started."""
        return self.children[node["index"] % len(self.children)] if self.children else None

    def failure(self) -> Exception:
        """Give what a program raises on purpose."""
        return Broken("on purpose")


def placed(place: Node | None) -> dict[str, Any]:
    """Give the options of a start that say where and when it begins."""
    if place is None:
        return {}
    given = {**place, "queue": QUEUES.get(place["queue"])}
    return {name: value for name, value in given.items() if value is not None}


def options_of(node: Node) -> dict[str, Any]:
    """Give the options of a step node."""
    options: dict[str, Any] = {}
    if node["attempts"] > 1:
        options["retry"] = RetryPolicy(max_attempts=node["attempts"], first_delay=node["delay"], backoff=2)
    if node.get("limit"):
        options["timeout"] = node["limit"]
    if node.get("key"):
        options["key"] = node["key"]
    return options


def of_life(given: Any, node: Node) -> Any:
    """Give the step under a name that it has in no other life: those of two lives would be taken for one."""
    return given.options(name=f"{given.name} {node['life']}") if node.get("life") else given


class Machine(Observer):
    """Runs the nodes of one program. Every kind of node is a method."""

    def __init__(self, base: str, other: str, continue_with: Callable[[Node], NoReturn]) -> None:
        super().__init__(base, other, continue_with)
        self.queues = [asyncio.Queue[int](2), asyncio.Queue[int]()]
        self.events = [asyncio.Event(), asyncio.Event()]
        self.locks = [asyncio.Lock(), asyncio.Lock()]
        self.semaphores = [asyncio.Semaphore(1), asyncio.BoundedSemaphore(2)]
        self.conditions = [asyncio.Condition(), asyncio.Condition()]
        self.barrier = asyncio.Barrier(2)
        self.tasks: list[asyncio.Task[Any]] = []

    async def run(self, node: Node) -> Any:
        """Run one node and give its value."""
        kind = node["do"]
        try:
            value = await getattr(self, f"do_{kind}")(node)
        except (Exception, asyncio.CancelledError) as error:
            self.note(kind, node["id"], "raised", name_of(error))
            raise
        self.note(kind, node["id"], value)
        return value

    def task(self, node: Node) -> asyncio.Task[Any]:
        """Make a task that runs the node, named if the node has a name."""
        task = asyncio.create_task(self.run(node), name=node.get("name"))
        self.tasks.append(task)
        return task

    # -- what takes no part ------------------------------------------------------------------------------------------

    async def do_sequence(self, node: Node) -> Any:
        value = 0
        for child in node["of"]:
            value = await self.run(child)
        return value

    async def do_sleep(self, node: Node) -> int:
        await (everlog.sleep(node["seconds"]) if node["ours"] else asyncio.sleep(node["seconds"]))
        return 0

    async def do_draw(self, node: Node) -> list[Any]:
        return [everlog.random().randrange(1000), str(everlog.uuid4()), everlog.now().isoformat()]

    async def do_fail(self, node: Node) -> Any:
        raise self.failure()

    async def do_continue(self, node: Node) -> Any:
        return node["then"] and self.continue_with(node["then"])

    async def do_scope(self, node: Node) -> Any:
        with everlog.scope(node["label"]):
            return await self.run(node["body"])

    async def do_guard(self, node: Node) -> Any:
        try:
            return await self.run(node["body"])
        except Exception as error:
            self.note("caught", name_of(error))
            return -1
        finally:
            await self.run(node["clean"])

    async def do_swallow(self, node: Node) -> Any:
        try:
            return await self.run(node["body"])
        except asyncio.CancelledError:
            return -2

    async def do_undo(self, node: Node) -> Any:
        self.note("deadline", everlog.current().deadline is not None)
        async with everlog.compensations() as undo:
            for number in range(node["most"]):
                undo.add(
                    amends.options(name=f"amends {node['id']}"), node["id"], number, node["seconds"], node["failures"]
                )
            return await self.run(node["body"])

    # -- steps and messages ------------------------------------------------------------------------------------------

    async def do_step(self, node: Node) -> Any:
        options, seen = options_of(node), len(self.trace)
        if node["how"] in ("async", "once"):
            given = of_life(limited if node.get("limited") else work if node["how"] == "async" else once, node)
            return await given.options(**options)(node["value"], node["seconds"], node["failures"], seen)
        threaded = of_life(plain, node).options(**options)
        if node["how"] == "call":
            return await everlog.call(threaded, node["value"], node["failures"], seen)
        if node["how"] == "thread":
            return await asyncio.to_thread(threaded, node["value"], node["failures"], seen)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, threaded, node["value"], node["failures"], seen)

    async def do_recv(self, node: Node) -> Any:
        topic, title = node["topic"], node.get("title")
        if node["default"]:
            return await everlog.recv(topic, type=int, timeout=node["seconds"] or 1, default=-3, title=title)
        return await everlog.recv(topic, type=int, timeout=node["seconds"], title=title)

    async def do_send(self, node: Node) -> int:
        await everlog.send(self.names[node["to"]], node["topic"], len(self.trace), key=node.get("key"))
        return 0

    async def do_ask(self, node: Node) -> Any:
        try:
            return await everlog.ask(
                self.names[node["to"]], node["topic"], len(self.trace), type=int, timeout=node["seconds"]
            )
        except AskRefused as refused:
            return refused.reason

    async def do_answer(self, node: Node) -> Any:
        request = await everlog.recv(node["topic"], type=Request[int], timeout=node["seconds"])
        if node["how"] == "refuse":
            await request.refuse("refused")
        elif node["how"] != "keep":
            await request.reply(len(self.trace))
        if node["how"] == "twice":
            try:
                await request.reply(-5)
            except UsageError:
                return [request.value, "once"]
        return request.value

    # -- children ----------------------------------------------------------------------------------------------------

    async def do_enqueue(self, node: Node) -> Any:
        place = node["place"]
        child = interpret_child.options(**placed({**place, "queue": None}))
        handle = await QUEUES[place["queue"]].enqueue(child, node["body"], self.names["other"])
        self.children.append(handle)
        return await handle.result() if node["waits"] else handle.id

    async def do_child(self, node: Node) -> Any:
        child = self.child(node)
        if node["how"] == "call":
            return await everlog.call(child, *self.given(node))
        handle = await everlog.start(child, *self.given(node))
        self.children.append(handle)
        return await handle.result(timeout=node["seconds"]) if node["how"] == "result" else handle.id

    async def do_ended(self, node: Node) -> Any:
        handle = self.started(node)
        return handle and told(await handle.result(timeout=node["seconds"]))

    async def do_stop(self, node: Node) -> Any:
        handle = self.started(node)
        return handle and await handle.cancel()

    async def do_tell(self, node: Node) -> Any:
        handle = self.started(node)
        return handle and await handle.send(node["topic"], len(self.trace))

    # -- many at once ------------------------------------------------------------------------------------------------

    async def do_gather(self, node: Node) -> Any:
        made = [self.task(child) if node["tasks"] else self.run(child) for child in node["of"]]
        return [told(one) for one in await asyncio.gather(*made, return_exceptions=node["all"])]

    async def do_map(self, node: Node) -> Any:
        async def guarded(child: Node) -> Any:
            try:
                return await self.run(child)
            except Exception as error:
                if not node["all"] or node["mixed"]:
                    raise
                return told(error)

        return await self.mapped(guarded, node["of"], node, "guarded" if node["all"] and not node["mixed"] else "run")

    async def do_spread(self, node: Node) -> Any:
        single = of_life((single_plain, single_async)[node["index"]], node)

        async def spread(values: list[int]) -> int:
            return await everlog.call(single, values)

        return await self.mapped(spread, self.singles(node), node, single.name)

    async def mapped(self, fn: Callable[[Any], Any], items: Iterable[Any], node: Node, label: str) -> list[Any]:
        """Do what `sync.map` does in blocking code."""
        free = asyncio.Semaphore(node["most"]) if node["most"] else None

        async def one(item: Any) -> Any:
            async with free or contextlib.nullcontext():
                return await fn(item)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item), name=label) for item in items]
        except BaseExceptionGroup as failed:
            first = failed.exceptions[0]
        else:
            return [task.result() for task in tasks]
        raise first

    async def do_several(self, node: Node) -> Any:
        tasks = [self.task({**child, "name": None}) for child in node["of"]]
        values: list[Any] = []
        for task in tasks:
            try:
                values.append(await self.outcome(task, node["seconds"]))
            except Exception as error:
                values.append(told(error))
        return [values, [task.done() for task in tasks]]

    async def outcome(self, task: asyncio.Task[Any], seconds: float | None) -> Any:
        """Do what `sync.Future.result` does in blocking code."""
        if not task.done():
            await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()

    async def do_group(self, node: Node) -> Any:
        values: list[Any] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.run(child), name=child.get("name")) for child in node["of"]]
                await self.run(node["body"])
            values = [task.result() for task in tasks]
        except* Broken as broken:
            values.append(name_of(broken))
        return values

    async def do_wait(self, node: Node) -> Any:
        wrap = {"task": lambda task: task, "gather": asyncio.gather, "shield": asyncio.shield}[node["wrap"]]
        made: list[asyncio.Future[Any]] = [wrap(self.task(child)) for child in node["of"]]
        tasks = set(made) if node["set"] else made
        done, pending = await asyncio.wait(tasks, timeout=node["seconds"], return_when=node["when"])
        self.note("done", [made.index(task) for task in done], "pending", [made.index(task) for task in pending])
        if node["then"] == "leave":
            return 0
        if node["then"] == "cancel":
            for task in pending:
                task.cancel()
        left = made if node["then"] == "all" else pending
        return [told(one) for one in await asyncio.gather(*left, return_exceptions=True)]

    async def do_completed(self, node: Node) -> Any:
        values = []
        for one in asyncio.as_completed([self.run(child) for child in node["of"]], timeout=node["seconds"]):
            try:
                values.append(await one)
            except Broken as error:
                values.append(name_of(error))
            self.note("completed", values[-1])
        return values

    async def do_spawn(self, node: Node) -> int:
        self.task(node["body"])
        return len(self.tasks)

    async def do_join(self, node: Node) -> Any:
        here = hash(asyncio.current_task())
        younger = [task for task in self.tasks if hash(task) > here]  # never in a circle, which asyncio cannot cancel
        if not younger:
            return 0
        task = younger[node["index"] % len(younger)]
        return await (self.outcome(task, None) if node.get("gently") else task)

    async def do_cancel(self, node: Node) -> Any:
        return bool(self.tasks) and self.tasks[node["index"] % len(self.tasks)].cancel()

    async def do_everyone(self, node: Node) -> Any:
        return [self.tasks.index(task) for task in asyncio.all_tasks() if task in self.tasks]

    async def do_shield(self, node: Node) -> Any:
        return await asyncio.shield(self.run(node["body"]))

    async def do_later(self, node: Node) -> int:
        loop, body = asyncio.get_running_loop(), node["body"]
        handle = loop.call_later(node["seconds"], self.task, body)
        if node["back"]:
            loop.call_later(node["back"], handle.cancel)
        return 0

    async def do_callback(self, node: Node) -> Any:
        task = self.task(node["body"])

        def again(done: asyncio.Task[Any]) -> None:
            self.note("callback", done.cancelled())
            self.task(node["then"])

        task.add_done_callback(again)
        return 0

    async def do_poll(self, node: Node) -> Any:
        task = self.task(node["body"])
        rounds = 0
        while not task.done() and rounds < 2500:
            rounds += 1
            await asyncio.sleep(0)
        return rounds

    async def do_generator(self, node: Node) -> Any:
        async def numbers() -> AsyncGenerator[Any]:
            try:
                for child in node["of"]:
                    yield await self.run(child)
            finally:
                self.note("generator", "ends")
                await self.run(node["clean"])

        values = []
        async for number in numbers():
            values.append(number)
            if len(values) == node["most"]:
                break
        return values

    async def do_publish(self, node: Node) -> int:
        under, seen = node["under"], len(self.trace)
        try:
            if node["what"] == "value":
                await everlog.set_value(under, seen)
            elif node["what"] == "items":
                await everlog.emit(under, *range(seen, seen + node["count"]))
            else:
                await everlog.close_stream(under)
        except everlog.UsageError:
            return -4
        return seen

    # -- limits ------------------------------------------------------------------------------------------------------

    async def do_timeout(self, node: Node) -> Any:
        async with asyncio.timeout(node["seconds"]) as limit:
            value = await self.run(node["body"])
            if node["again"]:
                limit.reschedule(asyncio.get_running_loop().time() + node["again"])
                value = await self.run(node["then"])
        return value

    async def do_wait_for(self, node: Node) -> Any:
        return await asyncio.wait_for(self.run(node["body"]), node["seconds"])

    # -- primitives --------------------------------------------------------------------------------------------------

    async def do_put(self, node: Node) -> int:
        await self.queues[node["index"]].put(node["value"])
        return self.queues[node["index"]].qsize()

    async def do_get(self, node: Node) -> int:
        value = await self.queues[node["index"]].get()
        self.queues[node["index"]].task_done()
        return value

    async def do_drained(self, node: Node) -> int:
        await self.queues[node["index"]].join()
        return 0

    async def do_set(self, node: Node) -> int:
        event = self.events[node["index"]]
        (event.clear if event.is_set() else event.set)()
        return 0

    async def do_event(self, node: Node) -> Any:
        return await self.events[node["index"]].wait()

    async def do_lock(self, node: Node) -> Any:
        async with self.locks[node["index"]]:
            return await self.run(node["body"])

    async def do_semaphore(self, node: Node) -> Any:
        async with self.semaphores[node["index"]]:
            return await self.run(node["body"])

    async def do_condition(self, node: Node) -> Any:
        async with self.conditions[node["index"]] as condition:  # type: ignore[misc]
            del condition
            return await self.conditions[node["index"]].wait()

    async def do_notify(self, node: Node) -> Any:
        async with self.conditions[node["index"]]:
            value = await self.run(node["body"])
            self.conditions[node["index"]].notify(node["most"])
        return value

    async def do_barrier(self, node: Node) -> int:
        return await self.barrier.wait()

    # -- anyio -------------------------------------------------------------------------------------------------------

    async def do_nursery(self, node: Node) -> Any:
        values: list[Any] = []

        async def collect(child: Node) -> None:
            with anyio.move_on_after(node["limit"]) if node["nested"] else anyio.CancelScope():
                values.append(await self.run(child))

        try:
            async with anyio.create_task_group() as group:
                for child in node["of"]:
                    group.start_soon(collect, child, name=child.get("name"))
                if node["cancel"] is not None:
                    await anyio.sleep(node["cancel"])
                    group.cancel_scope.cancel()
        except* Broken as broken:
            values.append(name_of(broken))
        return values

    async def do_move_on(self, node: Node) -> Any:
        with anyio.move_on_after(node["seconds"]) as scope:
            try:
                return await self.run(node["body"])
            finally:
                with anyio.CancelScope(shield=node["shield"]):
                    await self.run(node["clean"])
        return ["moved on", scope.cancelled_caught]

    async def do_fail_after(self, node: Node) -> Any:
        with anyio.fail_after(node["seconds"]):
            return await self.run(node["body"])


KINDS: dict[str, Callable[..., Any]] = {
    name.removeprefix("do_"): method for name, method in vars(Machine).items() if name.startswith("do_")
}
