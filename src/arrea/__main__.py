"""`python -m arrea` is `arrea`."""

import _signal
import sys

# As in scripts/arrea: Ctrl-C ends the start without a traceback.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from arrea.cli.main import main

sys.exit(main())
