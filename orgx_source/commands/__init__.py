"""What the command line does, to be called from Python too. Parses no arguments, prints nothing."""
