"""What the bytes themselves tell: kind of file, encoding, delimiter, line of the header.

Nothing here decides whether a delivery is good. A reader asks, compares with what was agreed, goes on where that is
harmless and says so in a `Note`.
"""

from __future__ import annotations

import codecs
import csv
import mmap
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from charset_normalizer import from_bytes

from storage.readers.base import BROKEN_ARCHIVE, Note, Unreadable

HEAD = 64 * 1024
DELIMITERS = ";,\t|"
CHUNK = 4 * 1024 * 1024

#: Byte order marks, longest first: the one of UTF-16 is the beginning of the one of UTF-32.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: First bytes of files that are no text, the machine word for their kind, and what to call them.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "pdf", "a PDF document"),
    (b"\x89PNG\r\n\x1a\n", "binary", "an image (PNG)"),
    (b"\xff\xd8\xff", "binary", "an image (JPEG)"),
    (b"GIF87a", "binary", "an image (GIF)"),
    (b"GIF89a", "binary", "an image (GIF)"),
    (b"II*\x00", "binary", "an image (TIFF)"),
    (b"MM\x00*", "binary", "an image (TIFF)"),
    (b"\x1f\x8b", "binary", "a compressed file (gzip)"),
    (b"7z\xbc\xaf\x27\x1c", "binary", "a compressed file (7z)"),
    (b"Rar!\x1a\x07", "binary", "a compressed file (RAR)"),
    (b"SQLite format 3\x00", "binary", "a database (SQLite)"),
    (b"PAR1", "binary", "a Parquet file"),
)
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_NAMES = {
    "html": "an HTML page",
    "xml": "an XML document",
    "json": "a JSON document",
    "edifact": "an EDIFACT interchange",
    "text": "plain text",
    "binary": "bytes that are no text",
    "zip": "a ZIP archive",
    "xls": "an old Excel workbook (XLS)",
    "xlsx": "an Excel workbook (XLSX)",
    "xlsm": "an Excel workbook with macros (XLSM)",
    "ods": "an OpenDocument spreadsheet (ODS)",
    "pdf": "a PDF document",
    "encrypted": "an encrypted Office document",
}
_EDIFACT = re.compile(rb"\s*(?:UNA.{6}\s*)?UNB.", re.DOTALL)
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.I)
_XML = re.compile(rb"\s*<(?:\?xml|!doctype|!--|[a-z_][\w.:-]*[\s/>])", re.I)
_JSON = re.compile(rb"\s*(?:\{\s*(?:\"[^\"\n]*\"\s*:|\})|\[\s*(?:\{\s*\"|\[|\"[^\"\n]*\"\s*[,\]]\s*\n))")
#: Control characters that text never holds; tab, line feed, vertical tab, form feed, return and DOS end of file may.
_CONTROL = bytes(set(range(0x20)) - {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1A, 0x1B})


@dataclass(frozen=True)
class Kind:
    """What a file is: the machine `word` and what to call it before a person."""

    word: str
    called: str


@dataclass(frozen=True)
class Text:
    """How to decode a file.

    Attributes:
        encoding: Name for `open`, byte order mark included (`utf-8-sig`, `utf-16`).
        ascii_only: No byte above 0x7F, so every ASCII-compatible encoding reads the same.
        notes: Where that differs from what was agreed.
    """

    encoding: str
    ascii_only: bool
    notes: tuple[Note, ...] = ()


def kind_of(source: Path) -> Kind:
    """Tell the kind from the bytes; the name of a file proves nothing.

    Raises:
        Unreadable: `file.empty`.
    """
    with source.open("rb") as file:
        head = file.read(HEAD)
        if not _has_content(head):
            while head and not _has_content(head):
                head = file.read(CHUNK)
            if not head:
                raise Unreadable("file.empty", expected="a file with data", found="an empty file")
    for magic, word, called in _MAGIC:
        if head.startswith(magic):
            return Kind(word, called)
    if head.startswith(_OLE2):
        return _kind("encrypted" if _mentions(source, "EncryptedPackage".encode("utf-16-le")) else "xls")
    if head.startswith(_ZIP):
        return _kind(_kind_of_zip(source))
    if wide := _wide_encoding(head):
        head = head.decode(wide, "ignore").encode()
    head = head.removeprefix(codecs.BOM_UTF8)
    if b"\x00" in head or sum(head.count(byte) for byte in _CONTROL) * 50 > len(head):
        return _kind("binary")
    if _HTML.match(_after_prolog(head)):
        return _kind("html")
    for pattern, word in ((_EDIFACT, "edifact"), (_XML, "xml"), (_JSON, "json")):
        if pattern.match(head):
            return _kind(word)
    return _kind("text")


def wrong_kind(kind: Kind, expected: str) -> Unreadable:
    """The error for a file of another kind than agreed."""
    return Unreadable("file.wrong_kind", expected=expected, found=kind.called, found_kind=kind.word)


def text_of(source: Path, agreed: str | None) -> Text:
    """Find the encoding that reads the whole file, the agreed one if that is possible.

    A byte order mark wins. UTF-8 that happens to decode as a single-byte encoding is still UTF-8. Streams the file,
    once where it is ASCII or the agreed UTF-8.

    Raises:
        Unreadable: `file.unreadable` when no encoding reads it harmlessly; `file.wrong_kind` for NUL bytes.
    """
    with source.open("rb") as file:
        head = file.read(HEAD)
    if found := _marked(head) or _wide_encoding(head):
        _must_decode(source, found)
        return Text(found, False, _encoding_note(agreed, found))
    ascii_only, utf8 = _survey(source)
    if ascii_only:
        if agreed is not None and not _reads_ascii(agreed):
            return Text("utf-8", True, _encoding_note(agreed, "utf-8"))
        return Text(agreed or "utf-8", True)
    if utf8:
        return Text("utf-8", False, _encoding_note(agreed, "utf-8"))
    if (agreed is None or _is_utf8(agreed) or _single_byte(agreed)) and _broken_utf8(source):
        _must_decode(source, "utf-8")
    if agreed is not None and not _is_utf8(agreed):
        # iso-8859-1 gives control characters where windows-1252 has €, dashes and quotes, and means those
        if (
            codecs.lookup(agreed).name == "iso8859-1"
            and _holds_c1(source)
            and _first_undecodable(source, "cp1252") is None
        ):
            return Text("cp1252", False, _encoding_note(agreed, "cp1252"))
        _must_decode(source, agreed)
        return Text(agreed, False)
    guess = _guess(source)
    if guess is None:
        _must_decode(source, agreed or "cp1252")
    found = guess or "cp1252"
    return Text(found, False, _encoding_note(agreed, found))


def delimiter_of(lines: Sequence[str], agreed: str | None, quote: str | None) -> str:
    """The delimiter of sample lines, the header first and no preamble; the agreed one unless it clearly is another.

    A header that holds the agreed delimiter settles it: in a body, decimal commas and commas in text prove nothing.
    """
    if not lines or (agreed is not None and agreed in lines[0]):
        return agreed or ";"
    scores = {mark: _score(lines, mark, quote) for mark in DELIMITERS if mark != agreed and mark in lines[0]}
    best = max(scores, key=lambda mark: scores[mark], default=";")
    return best if scores.get(best) else agreed or ";"


def display(encoding: str) -> str:
    """The name of an encoding that people know it by: `windows-1252` for `cp1252`."""
    name = codecs.lookup(encoding).name
    if re.fullmatch(r"cp125\d", name):
        return name.replace("cp", "windows-")
    return name.replace("iso8859-", "iso-8859-")


def _kind(word: str) -> Kind:
    return Kind(word, _NAMES[word])


def _has_content(chunk: bytes) -> bool:
    # NULs count as content, else a UTF-16 file of blanks and a disk image would look alike; marks do not
    for mark, _ in _MARKS:
        chunk = chunk.removeprefix(mark)
    if chunk[:1] == b"\x00" or chunk[1:2] == b"\x00":
        chunk = chunk.replace(b"\x00", b"")
    return bool(chunk.strip(b" \t\r\n\x0b\x0c\x1a"))


def _after_prolog(head: bytes) -> bytes:
    """The text after an XML declaration and comments; a pattern for that backtracks without end on some real files."""
    while True:
        head = head.lstrip()
        for opening, closing in ((b"<?xml", b"?>"), (b"<!--", b"-->")):
            if head[:5].lower().startswith(opening):
                head = head.partition(closing)[2]
                break
        else:
            return head


def _mentions(source: Path, needle: bytes) -> bool:
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(needle) >= 0


def _kind_of_zip(source: Path) -> str:
    try:
        with zipfile.ZipFile(source) as archive:
            names = {name.lower() for name in archive.namelist()}
            if "xl/workbook.xml" in names:
                return "xlsm" if _has_macros(archive, names) else "xlsx"
            if "mimetype" in names and "content.xml" in names:
                with archive.open("mimetype") as part:
                    return "ods" if b"opendocument.spreadsheet" in part.read(200) else "zip"
    except BROKEN_ARCHIVE:
        # the list of parts stands at the end: a workbook that was cut off is one still, and broken
        return "xlsx" if _mentions(source, b"xl/w") else "zip"
    return "zip"


def _has_macros(archive: zipfile.ZipFile, names: set[str]) -> bool:
    if any(name.endswith("vbaproject.bin") or name.startswith("xl/macrosheets/") for name in names):
        return True
    # a workbook may say that macros are welcome while it holds none
    with archive.open("[Content_Types].xml") as part:
        return b"macroEnabled.main+xml" in part.read(1024 * 1024)


def _marked(head: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by its mark or by zeros in every other byte as Latin text has them."""
    marked = _marked(head)
    if marked is not None:
        return marked if marked != "utf-8-sig" else None
    head = head[:4096]
    head = head[: len(head) // 2 * 2]
    if len(head) < 4:
        return None
    low, high = head[0::2].count(0) / (len(head) / 2), head[1::2].count(0) / (len(head) / 2)
    for encoding, zeros, text in (("utf-16-le", high, low), ("utf-16-be", low, high)):
        if zeros > 0.6 and text < 0.05:
            try:
                # the head may end within a pair of surrogates
                codecs.getincrementaldecoder(encoding)().decode(head)
            except UnicodeDecodeError:
                continue
            return encoding
    return None


def _survey(source: Path) -> tuple[bool, bool]:
    """Whether all bytes are ASCII, and whether all are UTF-8."""
    ascii_only, utf8 = True, True
    decoder = codecs.getincrementaldecoder("utf-8")()
    with source.open("rb") as file:
        while chunk := file.read(CHUNK):
            if b"\x00" in chunk:
                raise wrong_kind(_kind("binary"), "a text file")
            if chunk.isascii() and not decoder.getstate()[0]:
                continue
            ascii_only = False
            if utf8:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    utf8 = False
    if utf8:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            utf8 = False
    return ascii_only, utf8


def _broken_utf8(source: Path) -> bool:
    """Whether a file that is not UTF-8 still mostly is: then another encoding would only garble it."""
    good = bad = 0
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    with source.open("rb") as file:
        while good + bad < 10_000 and (chunk := file.read(CHUNK)):
            if chunk.isascii():
                continue
            for character in re.findall(r"[^\x00-\x7f]", decoder.decode(chunk)):
                if "\udc80" <= character <= "\udcff":
                    bad += 1
                else:
                    good += 1
    return good > bad


def _first_undecodable(source: Path, encoding: str) -> tuple[str, int] | None:
    """What and on which line (from 1) the encoding cannot decode, None if it can decode everything."""
    undefined = _undefined_bytes(encoding)
    if undefined == b"":
        return None
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with source.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            if undefined is not None and chunk and len(chunk.translate(None, undefined)) == len(chunk):
                line += max(chunk.count(b"\n"), chunk.count(b"\r"))
                continue
            try:
                line += _lines(decoder.decode(chunk, final=not chunk))
            except UnicodeDecodeError as error:
                before = _lines(error.object[: error.start].decode(encoding, "replace"))
                wrong = error.object[error.start : error.start + 1].hex().upper()
                return f"byte 0x{wrong}", line + before
            except UnicodeError as error:  # utf-7, idna and the like raise the base class
                return str(error), line
            if not chunk:
                return None


def _lines(text: str) -> int:
    return max(text.count("\n"), text.count("\r"))


def _undefined_bytes(encoding: str) -> bytes | None:
    """The byte values that a single-byte encoding does not know; None for any other encoding."""
    if not _single_byte(encoding) or not _reads_ascii(encoding):
        return None
    return bytes(value for value in range(256) if not bytes([value]).decode(encoding, "ignore"))


def _must_decode(source: Path, encoding: str) -> None:
    if wrong := _first_undecodable(source, encoding):
        found, line = wrong
        raise Unreadable(
            "file.unreadable", expected=f"text in {display(encoding)}", found=f"{found} at line {line}", line=line
        )


def _holds_c1(source: Path) -> bool:
    pattern = re.compile(rb"[\x80-\x9f]")
    with source.open("rb") as file:
        return any(pattern.search(chunk) for chunk in iter(lambda: file.read(CHUNK), b""))


#: Bytes above 0x7F that German text in windows-1252 is likely to hold: umlauts, accents, units, dashes, quotes.
_GERMAN = frozenset("äöüÄÖÜßéèáàâêôîçñ§°²³µ·©®€–—„“”‚‘’…½¼×\u00a0\u00ad±«»".encode("cp1252"))


def _guess(source: Path) -> str | None:
    """A single-byte encoding for bytes that are not UTF-8 and of which nobody said anything that holds."""
    with source.open("rb") as file:
        sample = file.read(CHUNK)
    high = [byte for byte in sample if byte > 0x7F][:10_000]
    if sum(byte in _GERMAN for byte in high) >= 0.8 * len(high):
        guess: str | None = "cp1252"
    else:
        lines = b"\n".join(islice((line for line in sample.splitlines() if not line.isascii()), 500))
        best = from_bytes(lines[:HEAD]).best()
        guess = best.encoding if best is not None else "cp1252"
    return guess if guess is not None and _first_undecodable(source, guess) is None else None


def _encoding_note(agreed: str | None, found: str) -> tuple[Note, ...]:
    if agreed is None or _family(agreed) == _family(found):
        return ()
    return (Note("file.encoding_differs", "warning", {"agreed": display(agreed), "found": display(_family(found))}),)


def _family(encoding: str) -> str:
    """UTF-8 with and without mark are one agreement, and so are the byte orders of UTF-16."""
    name = codecs.lookup(encoding).name
    return re.sub(r"^(utf-8|utf-16|utf-32).*$", r"\1", name)


def _is_utf8(encoding: str) -> bool:
    return _family(encoding) == "utf-8"


def _single_byte(encoding: str) -> bool:
    try:
        return len("äöü".encode(encoding, "replace")) == 3
    except UnicodeError:
        return False


def _reads_ascii(encoding: str) -> bool:
    plain = bytes(range(0x20, 0x7F)) + b"\t\r\n"
    try:
        return plain.decode(encoding) == plain.decode("ascii")
    except UnicodeError:
        return False


def _score(lines: Sequence[str], delimiter: str, quote: str | None) -> float:
    """Share of lines with the commonest number of cells, times that number's weight; 0 where nothing is divided."""
    try:
        rows = csv.reader(
            [line + "\n" for line in lines],
            delimiter=delimiter,
            quotechar=quote or None,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        )
        widths = [len(row) for row in rows if row]
    except csv.Error:
        return 0
    if not widths:
        return 0
    common = max(set(widths), key=lambda width: (widths.count(width), width))
    if common < 2:
        return 0
    share = widths.count(common) / len(widths)
    return share * (1 - 1 / (common + 1)) if share >= 0.6 or len(widths) < 3 else 0
