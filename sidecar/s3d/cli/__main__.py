"""`python -m s3d.cli`: the command."""

import sys

from s3d.cli import main

sys.exit(main())
