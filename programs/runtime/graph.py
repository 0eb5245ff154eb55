"""From modules and connections to a graph: what feeds what, in which order, and what the program takes and gives.

Fields join by name: an input takes the nearest earlier output of its name and type. A connection overrides that for its
input. What is bound to nothing is an input of the program; its outputs are those that connections lead to its boundary
and that `outputs` names, else those of the last module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mlops.errors import Problem, all_of
from programs.runtime.compatibility import accepts, merged, why_not
from programs.runtime.interfaces import Interface, interface_of, problems_of_module
from programs.runtime.names import problem_of_name
from programs.types import ConnectionSpec, FieldSpec, ModuleSpec, ProgramSpec

MAX_MODULES = 50


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from; an empty module is the program's input."""

    module: str
    field: str


@dataclass(frozen=True, slots=True)
class Node:
    """One module in the graph: its fields and where each input comes from."""

    module: ModuleSpec
    inputs: tuple[FieldSpec, ...]
    outputs: tuple[FieldSpec, ...]
    bindings: Mapping[str, Source]

    @property
    def key(self) -> str:
        return self.module.key

    @property
    def needs(self) -> frozenset[str]:
        """Keys of the modules that must have run before."""
        return frozenset(source.module for source in self.bindings.values() if source.module)


@dataclass(frozen=True, slots=True)
class ProgramOutput:
    field: FieldSpec
    source: Source


@dataclass(frozen=True, slots=True)
class ProgramGraph:
    """A program that can be built. Nodes stand in an order in which they may run."""

    nodes: tuple[Node, ...]
    inputs: tuple[FieldSpec, ...]
    outputs: tuple[ProgramOutput, ...]

    @property
    def output_fields(self) -> tuple[FieldSpec, ...]:
        return tuple(output.field for output in self.outputs)

    @property
    def is_chain(self) -> bool:
        """Whether every node waits for the one before it, so that nothing could run concurrently."""
        reach: dict[str, frozenset[str]] = {}
        for node in self.nodes:
            reach[node.key] = node.needs.union(*(reach[key] for key in node.needs))
        return all(len(reach[node.key]) == position for position, node in enumerate(self.nodes))


def resolve_graph(spec: ProgramSpec) -> ProgramGraph:
    """The graph of `spec`. Raises `Invalid` (code `program_invalid`) with every problem at once."""
    graph, problems = inspected(spec)
    if graph is None:
        raise all_of(problems, code="program_invalid", message="The program cannot be built.")
    return graph


def inspected(spec: ProgramSpec) -> tuple[ProgramGraph | None, tuple[Problem, ...]]:
    """The graph of `spec`, or None and everything that is wrong with it."""
    resolver = _Resolver(spec)
    graph = resolver.resolve()
    return (None if resolver.problems else graph), tuple(resolver.problems)


@dataclass(slots=True)
class _Resolver:
    spec: ProgramSpec
    problems: list[Problem] = field(default_factory=list)
    interfaces: dict[str, Interface] = field(default_factory=dict)
    bindings: dict[str, dict[str, Source]] = field(default_factory=dict)
    inputs: dict[str, FieldSpec] = field(default_factory=dict)
    named_outputs: dict[str, Source] = field(default_factory=dict)

    def resolve(self) -> ProgramGraph:
        self._read_modules()
        for index, connection in enumerate(self.spec.connections):
            self._connect(connection, f"connections.{index}")
        if len(self.interfaces) == len(self.spec.modules):
            self._join_by_name()
        nodes = self._ordered()
        self._read_outputs()
        return ProgramGraph(nodes, tuple(self.inputs.values()), tuple(self._outputs()))

    def _refuse(self, code: str, message: str, path: str) -> None:
        self.problems.append(Problem(code, message, path))

    def _read_modules(self) -> None:
        if not 0 < len(self.spec.modules) <= MAX_MODULES:
            self._refuse("bad_modules", f"A program has 1 to {MAX_MODULES} modules.", "modules")
        for module in self.spec.modules:
            path = f"modules.{module.key}"
            if problem := problem_of_key(module.key):
                self.problems.append(replace(problem, field=path))
            if module.key in self.bindings:
                self._refuse("duplicate_module", f"The module {module.key!r} is there twice.", path)
                continue
            self.bindings[module.key] = {}
            found = problems_of_module(module)
            self.problems += [replace(one, field=f"{path}.{one.field}".rstrip(".")) for one in found]
            if not found:
                self.interfaces[module.key] = interface_of(module)

    def _connect(self, connection: ConnectionSpec, path: str) -> None:
        source = Source(connection.from_module, connection.from_field)
        target = self._target(connection, path)
        given = self._given(connection, path)
        if not connection.from_module and not connection.to_module:
            self._refuse("bad_connection", "A connection begins or ends at a module.", path)
        elif not connection.to_module and given:
            self._name_output(connection.to_field, source, path)
        elif target and (given or not connection.from_module):
            self._bind(target, connection.to_module, source, given, path)

    def _bind(self, target: FieldSpec, module: str, source: Source, given: FieldSpec | None, path: str) -> None:
        if target.name in self.bindings[module]:
            self._refuse("two_sources", f"{module}.{target.name} is fed twice.", path)
        elif given is None:
            self._take_input(replace(target, name=source.field), path)
        elif not accepts(target, given):
            words = why_not(target, given)
            message = f"{source.module}.{source.field} does not fit {module}.{target.name}: {words}"
            self._refuse("type_mismatch", message, path)
        self.bindings[module].setdefault(target.name, source)

    def _given(self, connection: ConnectionSpec, path: str) -> FieldSpec | None:
        if not connection.from_module:
            return None
        return self._field_of(connection.from_module, connection.from_field, path, is_input=False)

    def _target(self, connection: ConnectionSpec, path: str) -> FieldSpec | None:
        if not connection.to_module:
            return None
        return self._field_of(connection.to_module, connection.to_field, path, is_input=True)

    def _field_of(self, key: str, name: str, path: str, *, is_input: bool) -> FieldSpec | None:
        if key not in self.bindings:
            self._refuse("unknown_module", f"There is no module {key!r}.", path)
            return None
        interface = self.interfaces.get(key)
        if interface is None:  # its own problems are reported already
            return None
        found = interface.input(name) if is_input else interface.output(name)
        if found is None:
            kind = "input" if is_input else "output"
            self._refuse("unknown_field", f"The module {key!r} has no {kind} {name!r}.", path)
        return found

    def _join_by_name(self) -> None:
        earlier: list[ModuleSpec] = []
        for module in self.spec.modules:
            for item in self.interfaces[module.key].inputs:
                if item.name not in self.bindings[module.key]:
                    self.bindings[module.key][item.name] = self._nearest(item, earlier) or Source("", item.name)
                    if not self.bindings[module.key][item.name].module:
                        self._take_input(item, f"modules.{module.key}.{item.name}")
            earlier.append(module)

    def _nearest(self, item: FieldSpec, earlier: Iterable[ModuleSpec]) -> Source | None:
        for module in reversed(list(earlier)):
            output = self.interfaces[module.key].output(item.name)
            if output and accepts(item, output):
                return Source(module.key, output.name)
        return None

    def _take_input(self, item: FieldSpec, path: str) -> None:
        if problem := problem_of_name(item.name):
            self.problems.append(replace(problem, field=path))
            return
        known = self.inputs.get(item.name)
        both = merged(known, item) if known else item
        if both is None:
            self._refuse("type_mismatch", f"The program's input {item.name!r} is used as two different types.", path)
        else:
            self.inputs[item.name] = both

    def _ordered(self) -> tuple[Node, ...]:
        waiting = {module.key: self._node(module) for module in self.spec.modules if module.key in self.interfaces}
        done: list[Node] = []
        while waiting:
            ready = next((node for node in waiting.values() if not node.needs & waiting.keys()), None)
            if ready is None:
                circle = " -> ".join(_circle(waiting))
                self._refuse("cycle", f"Modules wait for each other: {circle}.", f"modules.{next(iter(waiting))}")
                break
            done.append(waiting.pop(ready.key))
        return tuple(done)

    def _node(self, module: ModuleSpec) -> Node:
        interface = self.interfaces[module.key]
        return Node(module, interface.inputs, interface.outputs, self.bindings[module.key])

    def _read_outputs(self) -> None:
        for index, name in enumerate(self.spec.outputs):
            path = f"outputs.{index}"
            key, _, field_name = name.rpartition(".")
            source = Source(key, field_name) if key else self._last_with(field_name, path)
            if source and self._field_of(source.module, source.field, path, is_input=False):
                self._name_output(field_name, source, path)
        if not self.named_outputs and self.spec.modules:
            last = self.spec.modules[-1]
            interface = self.interfaces.get(last.key)
            for item in interface.declared_outputs if interface else ():
                self.named_outputs[item.name] = Source(last.key, item.name)

    def _last_with(self, name: str, path: str) -> Source | None:
        for module in reversed(self.spec.modules):
            interface = self.interfaces.get(module.key)
            if interface and interface.output(name):
                return Source(module.key, name)
        if len(self.interfaces) == len(self.bindings):
            self._refuse("unknown_field", f"No module has an output {name!r}.", path)
        return None

    def _name_output(self, name: str, source: Source, path: str) -> None:
        if name in self.named_outputs:
            self._refuse("output_clash", f"The program has two outputs {name!r}.", path)
        elif name != "reasoning" and (problem := problem_of_name(name)):
            self.problems.append(replace(problem, field=path))
        else:
            self.named_outputs[name] = source

    def _outputs(self) -> Iterable[ProgramOutput]:
        for name, source in self.named_outputs.items():
            interface = self.interfaces.get(source.module)
            if interface and (found := interface.output(source.field)):
                yield ProgramOutput(replace(found, name=name), source)


def problem_of_key(key: str) -> Problem | None:
    """Why a module may not have this key: it becomes a part of an attribute's name."""
    problem = problem_of_name(key)
    return problem if problem and problem.code == "bad_field_name" else None


def _circle(waiting: Mapping[str, Node]) -> list[str]:
    """One circle among nodes that all wait for another of them."""
    path = [next(iter(waiting))]
    while True:
        following = min(waiting[path[-1]].needs & waiting.keys())
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
