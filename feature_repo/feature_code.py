"""What a function of Python means: its code, and all code of ours that it reaches, without remarks and layout.

The SQL of views has its meaning in feature_sql.py, and this is the same for functions of the moment.
"""

import ast
import importlib.util
import symtable
import textwrap
from collections import Counter
from collections.abc import Iterator
from copy import copy
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

Place = tuple[str, str]
"""A module of ours and a name in it; an empty name is the whole module."""


def meaning(text: str) -> str:
    """A function's code and every function, class and constant in modules of this package that it reaches.

    Remarks, docstrings, layout and decorators do not count, nor does what stands beside what is reached. Of other
    libraries there is only what is imported, not their code.

    Args:
        text: the source of the function, which imports what it needs.
    """
    own = _plain(textwrap.dedent(text))
    for node in own:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    found: dict[Place, list[str]] = {("", ""): [ast.unparse(node) for node in own]}
    wanted = [place for node in own for place in _uses(node, "")]
    while wanted:
        module, name = place = wanted.pop()
        if place in found or _file(module) is None:
            continue
        names = _names(module)
        # A module that is used as a whole may be asked for anything.
        nodes = names.get(name, []) if name else [node for of in names.values() for node in of]
        found[place] = [ast.unparse(node) for node in nodes]
        wanted += [place for node in nodes for place in _uses(node, module)]
    return "\n".join(
        f"# {module}.{name}\n" + "\n".join(codes)
        for (module, name), codes in sorted(found.items())
        if codes
    )


def _file(module: str) -> Path | None:
    """The file of a module of this package; None for any other."""
    root, *rooms = module.split(".")
    if root != PACKAGE.name:
        return None
    file = PACKAGE.joinpath(*rooms)
    files = (file.with_suffix(".py"), file / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _names(module: str) -> dict[str, list[ast.stmt]]:
    """{name: the statements at the top of a module of ours that make it what it is}."""
    file = _file(module)
    assert file is not None
    return _parsed(file.read_text(encoding="utf-8"))


@cache
def _parsed(source: str) -> dict[str, list[ast.stmt]]:
    found: dict[str, list[ast.stmt]] = {}
    for node in _plain(source):
        if isinstance(node, ast.Import | ast.ImportFrom):
            # Each name for itself: one more that is imported beside it is no change.
            for alias in node.names:
                alone = copy(node)
                alone.names = [alias]
                found.setdefault(alias.asname or alias.name.split(".")[0], []).append(alone)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.setdefault(node.name, []).append(node)
        else:
            used = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
            made = {one.id for one in used if isinstance(one.ctx, ast.Store)}
            # What makes no name may change what any of its names holds.
            for name in sorted(made or {one.id for one in used}):
                found.setdefault(name, []).append(node)
    return found


class _WithoutRemarks(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_remark = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_remark else node


def _plain(source: str) -> list[ast.stmt]:
    """The statements of code without docstrings and remarks."""
    module: ast.Module = _WithoutRemarks().visit(ast.parse(source))
    return module.body


def _uses(node: ast.stmt, module: str) -> Iterator[Place]:
    """Every place of ours that a statement of a module may reach; names that are no place do no harm."""
    rooms: dict[str, str] = {}
    here = _names(module) if module else {}
    for name in _free_names(node):
        yield module, name
        for maker in here.get(name, ()):
            rooms |= {alias: room for alias, room, of in _imports(maker, module) if not of}
    for alias, room, of in _imports(node, module):
        if of or not alias:
            yield room, of
        else:
            rooms[alias] = room
    parts = [*ast.walk(node)]
    asked = [
        (part.value.id, part.attr)
        for part in parts
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)
    ]
    yield from ((rooms[alias], name) for alias, name in asked if alias in rooms)
    # A module that is not only asked for a name may be used as a whole.
    named = Counter(part.id for part in parts if isinstance(part, ast.Name))
    named.subtract(alias for alias, _ in asked)
    yield from ((room, "") for alias, room in rooms.items() if named[alias] > 0)


def _imports(node: ast.stmt, module: str) -> Iterator[tuple[str, str, str]]:
    """(alias, module, name) of what a statement imports from this package.

    There is no name if it is a module, and no alias either if all of it may be meant.
    """
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            for alias in part.names:
                if _file(alias.name):
                    yield alias.asname or "", alias.name, ""
        elif isinstance(part, ast.ImportFrom):
            package = module.rpartition(".")[0] or PACKAGE.name
            source = importlib.util.resolve_name("." * part.level + (part.module or ""), package)
            for alias in part.names:
                inner = f"{source}.{alias.name}"
                if alias.name == "*":
                    yield "", source, ""
                elif _file(inner):
                    yield alias.asname or alias.name, inner, ""
                else:
                    yield alias.asname or alias.name, source, alias.name


def _free_names(node: ast.stmt) -> set[str]:
    """The names that a statement looks up in its module: of a function not its own variables."""

    def within(table: symtable.SymbolTable, top: bool = False) -> Iterator[str]:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                yield symbol.get_name()
        for inner in table.get_children():
            yield from within(inner)

    return set(within(symtable.symtable(ast.unparse(node), "", "exec"), top=True))
