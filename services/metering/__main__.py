"""``python -m services.metering``."""

import sys

from services.metering.main import main

if __name__ == "__main__":
    sys.exit(main())
