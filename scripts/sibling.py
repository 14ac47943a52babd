"""Another script of this folder, as a module: their names end in nothing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def sibling(name: str) -> ModuleType:
    sys.dont_write_bytecode = True
    path = Path(__file__).resolve().parent / name
    loader = importlib.machinery.SourceFileLoader("script_" + name.replace("-", "_"), str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    # Before it runs: dataclasses look their module up.
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module
