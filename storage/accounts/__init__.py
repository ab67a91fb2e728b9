"""Accounts: suppliers' users and keys in the object store, the platform's own, and readers' of releases.

`base` says what is asked of a store's administration; `minio` and `iam` do it by MinIO's own and by AWS's IAM API, which
SeaweedFS answers. Which of them a store has is a setting (`VERBUND_S3_KIND`), not asked: a front that keeps the
administration to itself answers as a store without one. Logins of the database are `storage.logins`.
"""

from __future__ import annotations

from storage.accounts.base import Accounts
from storage.settings import Settings


def accounts_of(settings: Settings) -> Accounts:
    """The users of the installation's store, seen by its operator."""
    # each brings a library that the other has no use for
    if settings.s3_kind == "iam":
        from storage.accounts.iam import IamAccounts

        return IamAccounts(settings)
    from storage.accounts.minio import MinioAccounts

    return MinioAccounts(settings)
