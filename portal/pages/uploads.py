"""Large files, sent part by part by the tus protocol 1.0.0 (core, creation, termination); then handed in by name.

A page of ours begins an upload, sends parts, asks after a break how much is here, and then hands in with the form as ever.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Header, HTTPException
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from portal.uploads import NoSuchUpload, TooManyUploads, Upload, WrongOffset
from portal.visit import AVisit, door

router = APIRouter()
VERSION = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}


@door(router, "POST", "/hochladen", "delivery.upload", sends="bytes")
def begin(visit: AVisit, upload_length: int = Header(ge=0)) -> Response:
    """Make room for a file."""
    if upload_length > visit.desk.settings.max_file_bytes:
        raise HTTPException(413)
    try:
        begun = visit.services.uploads.begin(visit.person.who, upload_length)
    except TooManyUploads:
        raise HTTPException(429) from None
    return Response(status_code=201, headers={**VERSION, "Location": f"/hochladen/{quote(begun.name)}"})


@door(router, "HEAD", "/hochladen/{upload}", "delivery.upload", sends="bytes")
def stand(visit: AVisit, upload: str) -> Response:
    """How much of it is here."""
    found = _of(visit, upload)
    told = {"Upload-Offset": str(found.offset), "Upload-Length": str(found.length)}
    return Response(headers=VERSION | told)


@door(router, "PATCH", "/hochladen/{upload}", "delivery.upload", sends="bytes")
async def go_on(
    visit: AVisit, upload: str, upload_offset: int = Header(ge=0), content_type: str = Header(default="")
) -> Response:  # fmt: skip
    """Take the next bytes."""
    if content_type != "application/offset+octet-stream":
        raise HTTPException(415)
    _of(visit, upload)
    try:
        now = await visit.services.uploads.append(visit.person.who, upload, upload_offset, visit.request.stream())
    except WrongOffset:
        raise HTTPException(409) from None
    except NoSuchUpload:
        raise HTTPException(404) from None
    except ClientDisconnect:
        # what came is written; nobody is there to be told
        return Response(status_code=400, headers=VERSION)
    return Response(status_code=204, headers=VERSION | {"Upload-Offset": str(now.offset)})


@door(router, "DELETE", "/hochladen/{upload}", "delivery.upload", sends="bytes")
def end(visit: AVisit, upload: str) -> Response:
    """Forget what came."""
    visit.services.uploads.end(visit.person.who, _of(visit, upload).name)
    return Response(status_code=204, headers=VERSION)


def _of(visit: AVisit, name: str) -> Upload:
    try:
        return visit.services.uploads.find(visit.person.who, name)
    except NoSuchUpload:
        raise HTTPException(404) from None
