"""``python -m services.allocation``."""

import sys

from services.allocation.main import main

if __name__ == "__main__":
    sys.exit(main())
