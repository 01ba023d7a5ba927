"""python -m dtag"""

import sys

from dtag.cli.main import main

sys.exit(main())
