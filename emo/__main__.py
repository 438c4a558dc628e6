"""`python -m emo`: the command line where no `emo` script is installed, as on the nodes of a cluster."""

import sys

from emo.cli import main

sys.exit(main())
