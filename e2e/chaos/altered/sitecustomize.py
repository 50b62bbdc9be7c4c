"""First in PYTHONPATH: joins the control group S3D_E2E_CGROUP before there is anything to account for, and gives
constants other values, S3D_E2E_ALTER="s3d.store.threads.MAX_THREADS=1 ...". What the loop works without a pause stands
in the file S3D_E2E_SPENT.
"""

import ast
import importlib
import os
from pathlib import Path

if group := os.environ.get("S3D_E2E_CGROUP"):
    Path(group, "cgroup.procs").write_text(str(os.getpid()))

for assignment in os.environ.get("S3D_E2E_ALTER", "").split():
    name, _, value = assignment.partition("=")
    module, _, constant = name.rpartition(".")
    # A name that is not there would alter nothing.
    getattr(importlib.import_module(module), constant)
    setattr(importlib.import_module(module), constant, ast.literal_eval(value))

if spent := os.environ.get("S3D_E2E_SPENT"):
    importlib.import_module("loop_turns").watch(Path(spent))
