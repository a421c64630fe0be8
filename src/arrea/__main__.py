"""`python -m arrea` is `arrea`."""

import sys

from arrea.cli.main import main

sys.exit(main())
