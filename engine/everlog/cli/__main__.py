"""`python -m everlog.cli`: the same program as `everlog`."""

import sys

from everlog.cli.main import main

sys.exit(main())
