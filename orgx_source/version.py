"""The one place where the version is written in code."""

__version__ = "0.1.0"
