# ruff: noqa: INP001 (a script by itself, which the image holds)
"""Exit code 0 while the node at RAFTBOOK_URL answers GET /healthz; RAFTBOOK_CA_FILE is the CA of its certificate.

Health alone: a node without a leader is alive, and to restart it would help nobody. /readyz is for load balancers.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.request

TIMEOUT_S = 3.0

url = os.environ.get("RAFTBOOK_URL", "http://127.0.0.1:8101")
if not url.startswith(("http://", "https://")):
    sys.exit(f"RAFTBOOK_URL: {url!r} is no http:// or https:// address")
context = ssl.create_default_context(cafile=os.environ.get("RAFTBOOK_CA_FILE")) if url.startswith("https") else None
try:
    urllib.request.urlopen(f"{url}/healthz", timeout=TIMEOUT_S, context=context).close()  # noqa: S310 (checked above)
except OSError as error:
    sys.exit(f"{url}/healthz: {error}")
