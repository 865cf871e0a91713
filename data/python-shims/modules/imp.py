"""Stand-in for imp, which Python dropped in 3.12: loading a file as a module.

load_source(name, path), new_module(name), reload(module), find_module(name, path),
load_module(name, file, path, how).
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types

PY_SOURCE, PKG_DIRECTORY, C_BUILTIN = 1, 5, 6

reload = importlib.reload
new_module = types.ModuleType


def load_source(name, pathname, file=None):
    loader = importlib.machinery.SourceFileLoader(name, pathname)
    spec = importlib.util.spec_from_file_location(name, pathname, loader=loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def find_module(name, path=None):
    if path is None and name in sys.builtin_module_names:
        return None, None, ("", "", C_BUILTIN)
    for place in sys.path if path is None else path:
        whole = os.path.join(place, name)
        if os.path.isfile(os.path.join(whole, "__init__.py")):
            return None, whole, ("", "", PKG_DIRECTORY)
        if os.path.isfile(whole + ".py"):
            return open(whole + ".py"), whole + ".py", (".py", "r", PY_SOURCE)
    raise ImportError("No module named %r" % name, name=name)


def load_module(name, file, filename, details):
    if details[2] == C_BUILTIN:
        return importlib.import_module(name)
    if details[2] == PKG_DIRECTORY:
        filename = os.path.join(filename, "__init__.py")
    return load_source(name, filename)
