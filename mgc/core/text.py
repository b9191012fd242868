"""Makes invisible characters of names visible, in all text that mgc writes for people."""

import re

#: Characters without a glyph: controls, line separators, marks of text direction, invisible
#: formatting, and surrogates, which stand for bytes of a file name that are not UTF-8. The joiners
#: U+200C and U+200D are part of words.
_INVISIBLE = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_LINE = re.compile(f"[{_INVISIBLE}]")
_IN_TEXT = re.compile(f"(?![\\n\\t])[{_INVISIBLE}]")


def visible(text: object, lines: bool = False) -> str:
    r"""Replace invisible characters by escapes such as ``\x1b``, so that none has an effect.

    ``lines`` keeps line breaks and tabs, for text of several lines.
    """
    return (_IN_TEXT if lines else _IN_LINE).sub(_escape, str(text))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
