"""``python -m orgx_source.cli``."""

from orgx_source.cli import main

main()
