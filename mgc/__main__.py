"""``python -m mgc`` is the ``mgc`` command."""

import os
import sys

if __name__ == "__main__":
    # Files of the working folder must not shadow other modules.
    if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]

    from mgc.cli import main

    main()
