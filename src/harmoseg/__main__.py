"""``python -m harmoseg`` is the command line."""

from harmoseg.cli.main import main

raise SystemExit(main())
