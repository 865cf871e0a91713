"""waagent: the Linux guest agent for Azure, as ordered boot stages of numbered modules."""

__version__ = "3.0.0"
