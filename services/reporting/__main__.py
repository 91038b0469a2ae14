"""``python -m services.reporting``."""

import sys

from services.reporting.main import main

if __name__ == "__main__":
    sys.exit(main())
