"""Programs in short words, for tests."""

from __future__ import annotations

from typing import Any

from programs.runtime.shorthand import parse
from programs.types import ConnectionSpec, ModuleKind, ModuleSpec, ProgramSpec, SignatureSpec


def module(key: str, text: str | None = None, kind: str = "predict", **options: Any) -> ModuleSpec:
    """A module; `text` is its signature in shorthand. Options are its config, but for those that ModuleSpec names."""
    own = {name: options.pop(name) for name in ("language_model", "prompt") if name in options}
    signature = SignatureSpec(key, options.pop("instructions", ""), parse(text)) if text else None
    return ModuleSpec(key, ModuleKind(kind), signature, config=options, **own)


def program(
    *modules: ModuleSpec, connect: tuple[str, ...] = (), outputs: tuple[str, ...] = (), **more: Any
) -> ProgramSpec:
    """A program; connections as `a.x > b.y`, with nothing before the dot for the program's boundary."""
    connections = []
    for text in connect:
        source, target = (side.strip().rpartition(".") for side in text.split(">"))
        connections.append(ConnectionSpec(source[0], source[2], target[0], target[2]))
    return ProgramSpec("id-1", more.pop("name", "test"), 1, modules, tuple(connections), outputs, **more)
