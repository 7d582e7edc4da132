"""``python -m nkfast`` is the command ``nkfast``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
