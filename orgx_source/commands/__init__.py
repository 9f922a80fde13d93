"""The commands as Python functions. They parse no arguments and print nothing."""
