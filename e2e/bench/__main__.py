"""`python -m e2e.bench`: the benchmark."""

import sys

from e2e.bench.bench import main

sys.exit(main())
