"""The extension engine: what the goal state wants, what is on disk, and the way from one to the other.

observe.py looks, plan.py decides (pure), apply.py acts and keeps a journal, report.py tells the platform.
"""
