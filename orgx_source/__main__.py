"""``python -m orgx_source`` is the command ``orgx-sync``."""

from orgx_source.cli import main

if __name__ == "__main__":
    main()
