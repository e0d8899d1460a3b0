"""`python -m llicti_core`: the `llicti` command."""

import sys

from llicti_plugin.cli import main

sys.exit(main())
