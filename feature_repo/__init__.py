"""What the shop's features are, as Feast's definitions, and the stores that hold them."""

import importlib
import sys
from types import ModuleType
from typing import Any

if "feast" not in sys.modules:
    import typeguard

    _checked = typeguard.typechecked

    def _typechecked(target: Any = None, **options: Any) -> Any:
        if target is None:
            return _checked(**options)
        return target if target.__module__.startswith("feast.") else _checked(target, **options)

    # Feast has the types of its own calls checked by typeguard, which for that rewrites its classes anew in each
    # process: half the time of importing Feast, so of every command. `feast` itself goes on checking.
    typeguard.typechecked = _typechecked

    # It also imports torch, which takes longer than all the rest of it, for those who ask it for tensors: they get
    # it when they do.
    _torch = ModuleType("feast.torch_wrapper")
    vars(_torch)["get_torch"] = lambda: importlib.import_module("torch")
    sys.modules[_torch.__name__] = _torch
