"""An SFTP server in a thread of the test's process, that shows one folder as its root."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import asyncssh

USER = "verbund"


class SftpServer:
    """Serves a folder to one user on a free port of this machine.

    Args:
        folder: What clients see as `/`.
        password: What the user logs in with; None for no passwords.
        key: The user's public key; None for no keys.
        more_host_keys: Types of keys it has beside its first.
    """

    def __init__(
        self, folder: Path, password: str | None = None, key: asyncssh.SSHKey | None = None,
        more_host_keys: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.folder = folder
        self.host_keys = [asyncssh.generate_private_key(kind) for kind in ("ssh-ed25519", *more_host_keys)]
        self.host_key = self.host_keys[0]
        self.logins = 0
        #: Called before every reading of a part of a file.
        self.before_read: Callable[[], None] = lambda: None
        #: Where every file ends, whatever its size is said to be.
        self.ends_at: int | None = None
        self._password, self._key = password, key
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener = self._run(self._listen())
        self.port = self._listener.get_port()

    @property
    def address(self) -> str:
        return f"sftp://{USER}@127.0.0.1:{self.port}"

    @property
    def public_key(self) -> str:
        """As a region pack names it."""
        return self.host_key.export_public_key().decode().strip()

    def stop(self) -> None:
        """Listen no more and end all connections."""
        if self._thread.is_alive():
            self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _listen(self) -> asyncssh.SSHAcceptor:
        server = self

        class Door(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                server._connections.append(conn)

            def begin_auth(self, username: str) -> bool:
                server.logins += 1
                return True

            def password_auth_supported(self) -> bool:
                return server._password is not None

            def validate_password(self, username: str, password: str) -> bool:
                return (username, password) == (USER, server._password)

            def public_key_auth_supported(self) -> bool:
                return server._key is not None

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return username == USER and key == server._key

        class Files(asyncssh.SFTPServer):
            def __init__(self, chan: Any) -> None:
                super().__init__(chan, chroot=str(server.folder).encode())

            def read(self, file_obj: Any, offset: int, size: int) -> Any:
                server.before_read()
                if server.ends_at is not None:
                    size = max(0, min(size, server.ends_at - offset))
                return super().read(file_obj, offset, size)

        self._connections: list[asyncssh.SSHServerConnection] = []
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Door, server_host_keys=self.host_keys, sftp_factory=Files,
        )  # fmt: skip

    async def _close(self) -> None:
        self._listener.close()
        await self._listener.wait_closed()
        for connection in self._connections:
            connection.abort()
        await asyncio.sleep(0)
