"""Recognise columns with personal data, and columns that may summarise later events."""

import re

import pyarrow as pa
import pyarrow.compute as pc

_PERSON = re.compile(
    r"^(first|last|middle|full|given|family|sur|sir|user|nick|display|real|maiden|customer|contact)?_?names?$|"
    r"(^|_)(e_?mails?|phones?|mobile|tel|telephone|fax|address(_line)?_?\d?|street|ssn|passport|iban|credit_card|login|"
    r"username|ip|ip_addr(ess)?|twitter|facebook|instagram|linkedin)(_(no|nr|number|address|handle|url))?$"
)
_CONTACT = {  # forms of texts that identify a person
    "e-mail addresses": r"^[^@\s]+@[^@\s]+\.\w{2,}$",
    "phone numbers": r"^(\+|00|\()\d[\d ().\-/]{6,18}$",
    "IP addresses": r"^\d{1,3}(\.\d{1,3}){3}$",
}
_SUMMARY = re.compile(
    r"(^|_)(total|sum|avg|average|mean|median|lifetime|last|latest|recency|frequency|monetary|ltv|clv|churn(ed)?|ctr|cvr|"
    r"conversions?|popularity|trending|rank|score|ratings?|reviews?|purchases?|orders?|sales|sold|spend|spent|revenue|"
    r"views|likes|plays|downloads|clicks|visits|logins|sessions|listens|streams|interactions|favou?rites|followers)(_|$)"
)
SUMMARY = "may summarise later events; the leak gate checks it"
SUMMARY_WITHOUT_TIMES = "may contain held-out interactions; without times no gate checks it"
FREE_TEXT = "free text about people may hold personal data"
_SAMPLE = 1000


def personal_data(column: pa.ChunkedArray, name: str, who: str) -> str | None:
    """Return why a column holds personal data, for the user; None if it does not seem to.

    Args:
        column: The column.
        name: The name of the column.
        who: `user`, `item`, or `event` for a column of the interactions. The names of items are no personal data.
    """
    if who != "item" and _PERSON.search(_snake(name)):
        return "personal data by its name: left out"
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    texts = column.slice(0, _SAMPLE).drop_null()
    for contact, form in _CONTACT.items():
        if len(texts) and pc.mean(pc.match_substring_regex(texts, form).cast(pa.int8())).as_py() > 0.5:
            return f"personal data, {contact}: left out"
    return None


def is_summary_name(name: str) -> bool:
    """Return whether the name of a column suggests a total or an average over events, such as avg_rating."""
    return bool(_SUMMARY.search(_snake(name)))


def _snake(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"\W+|_+", "_", words).strip("_").lower()
