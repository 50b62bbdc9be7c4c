"""Changes the constants of a daemon before it starts. The command, which has its settings too, needs none of them."""

import json
import os
import sys

from tests.constants import VARIABLE, change

if sys.orig_argv[-1] == "run":
    change(json.loads(os.environ[VARIABLE]))
