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
    contract, supplier = pack.contracts.get(facts["dataset"]), pack.suppliers.get(facts["supplier"])
    what = contract.title.get(language, facts["dataset"]) if contract else facts["dataset"]
    state = texts.text(f"state.{facts['state']}", language) if "state" in facts else ""
    about = f"{what} {facts['period']}, {supplier.name if supplier else facts['supplier']}"
    return f"{about}:\n" + texts.text(f"mail.{mail.kind}", language, state=state)


def _path(mail: Mail) -> str:
    if "delivery" in mail.facts:
        return f"/lieferung/{mail.facts['delivery']}"
    return "/fristen" if mail.kind == "extension_asked" else f"/pflichten/{mail.facts['supplier']}"
