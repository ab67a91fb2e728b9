"""The words of mails: what happened, in words, and a link. Never a figure, never a name of a file."""

from __future__ import annotations

from collections.abc import Sequence

from portal import texts
from quality.desk import Desk
from quality.mailer import Letter
from storage.mails import Mail
from storage.people import Person


def letter(desk: Desk, person: Person, mails: Sequence[Mail]) -> Letter:
    """One message to somebody, in their language."""
    language = texts.language(person.language)
    first, address = mails[0], desk.settings.portal_address
    subject = texts.text(f"mail.subject.{first.kind}" if len(mails) == 1 else "mail.subject.many", language)
    parts = [texts.text("mail.hello", language, name=person.name)]
    parts += [f"{_sentence(desk, mail, language)}\n{address}{_path(mail)}" for mail in mails]
    parts += [texts.text("mail.end", language), f"{address}/einstellungen"]
    return Letter(f"Verbund: {subject}", "\n\n".join(parts) + "\n")


def _sentence(desk: Desk, mail: Mail, language: texts.Language) -> str:
    pack, facts = desk.pack, mail.facts
    supplier = pack.suppliers.get(facts["supplier"])
    about = supplier.name if supplier else facts["supplier"]
    if (dataset := facts.get("dataset")) is not None:
        title = pack.contracts[dataset].title.get(language, dataset) if dataset in pack.contracts else dataset
        about = f"{title} {facts['period']}, {about}"
    state = texts.text(f"state.{facts['state']}", language) if "state" in facts else ""
    return f"{about}:\n" + texts.text(f"mail.{mail.kind}", language, state=state)


def _path(mail: Mail) -> str:
    match mail.facts:
        case {"thread": thread, "supplier": supplier}:
            return f"/fragen/{supplier}/{thread}"
        case {"delivery": delivery}:
            return f"/lieferung/{delivery}"
        case _:
            return "/fristen" if mail.kind == "extension_asked" else f"/pflichten/{mail.facts['supplier']}"
