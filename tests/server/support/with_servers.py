"""Run pytest with real servers: `python -m tests.server.support.with_servers tests/integration/test_life_states.py`.

Tests that take their homes from `tests.support.profiles` then run on PostgreSQL and on MinIO behind its front.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from tests.server.support.servers import Postgres, minio_behind_haproxy


def main(arguments: Sequence[str]) -> int:
    """Start the servers, run pytest with the arguments, end the servers; returns pytest's exit code."""
    with Postgres() as postgres, minio_behind_haproxy(postgres) as (minio, front):
        servers = {
            "database": postgres.url(),
            "endpoint": front.url,
            "ca_file": str(front.ca_file),
            "access_key": minio.root_user,
            "secret_key": minio.root_password,
        }
        environment = {**os.environ, "VERBUND_TEST_SERVERS": json.dumps(servers)}
        return subprocess.call([sys.executable, "-m", "pytest", *arguments], env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
