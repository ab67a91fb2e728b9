"""Which processes give way: readers, store and database go before judges, judges before builds and all that is not waited for."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

#: Niceness of judges, and of what works in the background.
JUDGES, BACKGROUND = 5, 10
_TRIES = 10


def give_way(niceness: int, pid: int | None = None) -> None:
    """Let a process (this one) give way to those of a smaller niceness, whatever session it belongs to.

    Kernels that group by session (`sched_autogroup_enabled`) weigh the groups, and a niceness counts inside its group
    only; so the group's is set as well. A new session begins with a group of its own that gives way to nobody.
    """
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid or 0, niceness)
    group = Path(f"/proc/{pid or 'self'}/autogroup")
    for _ in range(_TRIES):
        try:
            group.write_text(str(niceness))
        except BlockingIOError:
            # the kernel lets users without privileges change one group a tenth of a second
            time.sleep(0.1)
        except OSError:
            return
        else:
            return
