"""Put the stand-ins last on the path of a handler's Python, of any version: what Python has itself comes first.

This directory is on PYTHONPATH when Extensions.PythonShims=y. The machine's own sitecustomize runs all the same.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [place for place in sys.path if os.path.abspath(place) != _HERE]
sys.path.append(os.path.join(_HERE, "modules"))

del sys.modules["sitecustomize"]
try:
    import sitecustomize  # noqa: F401 - the machine's
except ImportError:
    pass
