"""`python -m s3d`: the command."""

import sys

from s3d.cli import main

sys.exit(main())
