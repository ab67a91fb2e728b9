"""The heartbeat: a small delivery the platform sends itself, to see that the whole way is open.

It is put where suppliers put, judged and accepted like theirs, reported and answered; it is no part of the state of
supply, of the foundation or of a release (`Contract.is_internal`).
"""

from __future__ import annotations

import io
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from quality.contract import load_contract
from quality.dialect import Dialect
from quality.region import Mandate, RegionPack, Supplier
from quality.sources import content_hash, load_yaml, validated
from storage import stores
from storage.settings import Settings

SUPPLIER, DATASET = "verbund-heartbeat", "heartbeat"
CONTRACT = Path(__file__).with_name("heartbeat.odcs.yml")
_DIALECT = Path(__file__).with_name("heartbeat.yml")


def with_heartbeat(pack: RegionPack) -> RegionPack:
    """A region in which the platform is one supplier more, who owes nothing.

    Raises:
        quality.sources.Misconfigured: The platform's own contract or dialect has mistakes.
    """
    contract = load_contract(CONTRACT)
    dialect: Dialect = validated(Dialect, load_yaml(_DIALECT), _DIALECT)
    supplier = Supplier(id=SUPPLIER, name="Herzschlag der Plattform", role="the platform itself", synthetic=True)
    mandate = Mandate(
        supplier=SUPPLIER, dataset=contract.dataset, dialects=[dialect.id], areas=[], valid_from=date.min, optional=True
    )
    return replace(
        pack,
        suppliers={**pack.suppliers, SUPPLIER: supplier},
        mandates=[*pack.mandates, mandate],
        dialects={**pack.dialects, dialect.id: dialect},
        dialect_paths={**pack.dialect_paths, dialect.id: _DIALECT},
        contracts={**pack.contracts, contract.dataset: contract},
        fingerprints=replace(
            pack.fingerprints, dialects={**pack.fingerprints.dialects, dialect.id: content_hash(_DIALECT)}
        ),
    )


def send(settings: Settings) -> datetime:
    """Put one heartbeat into the inbox, with the credentials of its own user where it has some; returns when it left.

    Raises:
        storage.objects.base.StoreDown: The store does not answer.
        storage.objects.base.StoreRefused: It does not let these credentials put.
    """
    now = datetime.now(UTC)
    content = f"beat;sent_at\n{uuid.uuid4().hex};{now.isoformat(timespec='microseconds')}\n".encode()
    # one name a day: every heartbeat is another attempt at the day's slot
    stores.heartbeat_inbox(settings).put(f"{SUPPLIER}/heartbeat_{now:%Y-%m-%d}.csv", io.BytesIO(content))
    return now
