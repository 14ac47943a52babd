"""Loads a script of the folder above as a module; their names end in nothing."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent


def load(name):
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("script_" + name.replace("-", "_"), str(FOLDER / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module
