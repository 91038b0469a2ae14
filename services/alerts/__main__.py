"""``python -m services.alerts``."""

import sys

from services.alerts.main import main

if __name__ == "__main__":
    sys.exit(main())
