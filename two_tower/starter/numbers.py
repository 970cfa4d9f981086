"""Parse texts as numbers."""

import pyarrow as pa
import pyarrow.compute as pc

MOST_LOST = 0.01  # at most this share of the values may be invalid; they become missing


_FORMS = {  # a form of numbers: the pattern of its texts, its thousands separator, its decimal separator
    "": (r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?$", "", "."),
    "1,234.5": (r"^[-+]?([1-9]\d{0,2}(,\d{3})+|\d+)(\.\d+)?$", ",", "."),
    "1.234,5": (r"^[-+]?([1-9]\d{0,2}(\.\d{3})+|\d+)(,\d+)?$", ".", ","),
}


def numbers(distinct: pa.Array, form: str = "") -> pa.Array:
    """Parse texts as floats.

    Args:
        distinct: The texts.
        form: "" for numbers such as 1234.5, else "1,234.5" or "1.234,5".

    Returns:
        The numbers; null if a text is not a finite number of this form.
    """
    pattern, thousands, decimal = _FORMS[form]
    texts = pc.if_else(pc.match_substring_regex(distinct, pattern), distinct, pa.scalar(None, pa.string()))
    if thousands:
        texts = pc.replace_substring(pc.replace_substring(texts, thousands, ""), decimal, ".")
    parsed = pc.utf8_ltrim(texts, "+").cast(pa.float64())
    return pc.if_else(pc.is_finite(parsed), parsed, pa.scalar(None, pa.float64()))


def number_form(distinct: pa.Array) -> str | None:
    """Return the form in which at least 99 % of the texts are numbers, or None."""
    forms = (form for form in _FORMS if lost(distinct, numbers(distinct, form)) <= MOST_LOST * len(distinct))
    return next(forms, None)


def lost(texts: pa.Array, values: pa.Array) -> int:
    return int(values.null_count - texts.null_count)
