"""Exit with status 0 if a server of this container answers with status 200, otherwise with 1.

Usage: healthcheck.py PORT PATH
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException
from typing import NoReturn

_TIMEOUT_S = 4.0


def main() -> NoReturn:
    """Send one request to 127.0.0.1; no proxy of the environment is asked."""
    _, port, path = sys.argv
    connection = HTTPConnection("127.0.0.1", int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        sys.exit(f"Port {port} does not answer: {error}")
    sys.exit(None if status == 200 else f"{path} on port {port} has status {status}")


if __name__ == "__main__":
    main()
