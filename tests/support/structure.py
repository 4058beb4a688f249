"""The packages and the imports they allow; `python -m tests.support.structure` prints them."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

__all__ = ["FILES", "MODULES", "imported", "imports_of", "layer_of", "module_of"]

ROOT = Path(__file__).resolve().parents[2]

# Lower layers first: a module imports from its own package and from layers below. A name covers the
# modules below it, unless they are named themselves.
LAYERS = [
    {"core.errors", "core._version", "core.file_suffixes", "core.text"},
    {"core.access_tokens", "core.user_info"},
    {"core.redaction"},
    {"core.environment", "core.network", "core.messages"},
    {
        *("core.lock", "core.output", "core.rate_limit", "core.settings", "core.sockets"),
        *("core.system", "core.worker_process"),
    },
    {"core.logs", "core.message_process"},
    {"core.photos"},
    {"core.bundle"},
    {"core.inference"},
    {"core.store"},
    {"core.locale"},
    {"core.registry"},
    {"core"},
    {"core.charts"},
    {"core.teaching", "core.rollout"},
    {"core.training", "core.serving"},
    {"core.cli"},
    {"demo", "bot"},
]
FILES = sorted(
    file for package in ("bot", "core", "demo", "bench") for file in (ROOT / package).rglob("*.py")
)


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def layer_of(module: str) -> tuple[int, str]:
    """Return the index of a module's layer, and the name that covers it there."""
    name = module
    while name:
        for i, layer in enumerate(LAYERS):
            if name in layer:
                return i, name
        name = name.rpartition(".")[0]
    raise AssertionError(f"{module} is in no layer")


@cache
def imported(file: Path) -> frozenset[str]:
    """Return the names of the modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
    return frozenset(found)


def imports_of(module: str) -> set[str]:
    """Return the project's modules that a module imports, also inside functions."""
    return set(imported(MODULES[module]) & MODULES.keys() - {module})


PACKAGES = {module_of(file) for file in FILES if file.name == "__init__.py"}


def room_of(module: str) -> str:
    """Return the package that a module is shown under; core's loose modules stand apart."""
    if module in PACKAGES:
        return module
    package = module.rpartition(".")[0]
    return "core/*.py" if package == "core" else package


def height(room: str) -> tuple[int, str]:
    """Return the sort key of a package: the highest layer first."""
    return (1 if room == "core/*.py" else -layer_of(room)[0], room)


def functions_of(file: Path) -> Counter[str]:
    """Return the number of lines of each function and method, as `file.name`."""
    lines: Counter[str] = Counter()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # Methods of the same name share an entry, which is that of the longest.
            name = f"{file.stem}.{node.name}"
            lines[name] = max(lines[name], (node.end_lineno or node.lineno) - node.lineno + 1)
    return lines


def longest(lines: Counter[str]) -> str:
    """Return the entry with the most lines, and their number; `-` if there is none."""
    return " ".join(map(str, lines.most_common(1)[0])) if lines else "-"


def show() -> None:
    """Print files and lines of each package, its longest file and function, and its imports."""
    files: dict[str, Counter[str]] = {}
    functions: dict[str, Counter[str]] = {}
    arrows: dict[str, Counter[str]] = {}
    for module, file in MODULES.items():
        if module.startswith("bench"):
            continue
        room = room_of(module)
        files.setdefault(room, Counter())[file.name] = len(file.read_text("utf-8").splitlines())
        functions.setdefault(room, Counter()).update(functions_of(file))
        targets = Counter(room_of(other) for other in imports_of(module))
        del targets[room]
        arrows[room] = arrows.get(room, Counter()) + targets
    rows = [("package", "files", "lines", "longest file", "longest function", "imports from")]
    for room in sorted(files, key=height):
        size = str(len(files[room])), str(files[room].total())
        imports = ", ".join(f"{other} {n}" for other, n in sorted(arrows[room].items()))
        rows.append((room, *size, longest(files[room]), longest(functions[room]), imports))
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    for *cells, imports in rows:
        print(*(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)), imports)
    n_files = sum(map(len, files.values()))
    n_arrows = sum(map(len, arrows.values()))
    print(f"{len(files)} packages, {n_files} files, {n_arrows} imports between packages")


if __name__ == "__main__":
    show()
