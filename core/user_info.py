"""Recognition of user and password before the @ of an address.

An address is a URL (//user:password@host, after a scheme also //user@host) or, without //,
user:password@host. Users paste addresses that are not valid: passwords contain @ and /, and those
of URLs also blanks. Ordinary text contains colons and @, too; each rule below names one case of it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from core.file_suffixes import FILE_SUFFIX

__all__ = ["find_user_info"]

_MAX_PASSWORD = 300
_USER = re.compile(
    r"(?<=://)(?P<without_password>[^\s/?#@:\"'<>,;]+)@"
    r"|//(?P<in_url>[^\s/@:\[\]\"'<>,;]*):"
    # Without // it starts a word, but not in a path; an empty one starts a value.
    r"|(?<![\w.%+~!$/-])(?P<alone>[\w.%+~!$-]+):"
    r"|(?<![^\s=])(?P<empty>):"
)
# What messages recommend to write.
_EXAMPLE = "user:password"
_WORD = re.compile(rf"\S{{0,{_MAX_PASSWORD + 1}}}")
# Texts after an @ that do not name a host.
_FILE = re.compile(rf"[^\s@/]{{0,100}}{FILE_SUFFIX}")
_END = r"(?![\w-]|\.\w|:\d)"
_VERSION = re.compile(rf"v?\d+(\.\d+){{1,2}}(-?(a|b|rc|alpha|beta|dev|post)[\w.]{{0,20}})?{_END}")
_QUANTITY = re.compile(rf"\d+[A-Za-z%]{{0,4}}{_END}")
_DIGEST = re.compile(r"sha\d{3}:")
_NO_HOST = (_FILE, _VERSION, _DIGEST)
_HOST_WITH_DOT_OR_PORT = re.compile(r"[\w-]{1,63}(\.\w|:\d)")
# Texts around a colon that is not between a user and a password.
_PORT = re.compile(r"\d{1,5}(?!\d)")
_END_OF_ADDRESS = re.compile(r"[/\s]|\Z|[\"')\]}>,;.:!]{1,9}([\s\"'{\[(<]|\Z)")
_IP_ADDRESS = re.compile(r".*\d\.\d{1,3}")
_PASSWORD_GOES_ON = re.compile(r"[\w@.%+~!$-]")
_LABEL = re.compile(r"mailto|acct|sips?|xmpp|e?-?mail|contact|author|from|to|cc|bcc|by", re.I)
_FILE_NAME = re.compile(r"[\w.+-]*\.\w{1,6}")
_LINE = re.compile(r"\d{1,6}:")
_TIME = re.compile(r"\d{1,2}(:\d{2})?(\.\d+)?(Z|[+-]\d{2}:?\d{2})?")
_LIST_OF_NAMES = re.compile(r"@\w+[,;/|]+@")


def find_user_info(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each user with its password in a text, from left to right.

    The // before it and the @ after it are left out. Passwords of more than 300 characters are not
    recognised: a long line of hostile text must not take quadratic time.
    """
    hosts = _Hosts(text)
    done = 0
    for user in _USER.finditer(text):
        if user.start() < done:
            continue  # within a password
        start, end = user.span(user.lastgroup or 0)
        if user.lastgroup == "in_url":
            end = _end_in_url(text, start, end, hosts)
        elif user.lastgroup != "without_password":
            end = _end_alone(text, start, end, hosts)
        if end:
            yield start, end
            done = end


class _Hosts:
    """Positions of each @ in a text that is followed by what may be a host.

    Attributes:
        possible: All of them.
        likely: Those not followed by what looks like a quantity (16:9@60Hz).
        full: Those of a host with a dot or a port.
    """

    def __init__(self, text: str) -> None:
        at = (found.start() for found in re.finditer("@", text))
        self.possible = [each for each in at if not _is_no_host(text, each + 1)]
        self.likely = [each for each in self.possible if not _QUANTITY.match(text, each + 1)]
        self.full = [each for each in self.likely if _HOST_WITH_DOT_OR_PORT.match(text, each + 1)]


def _last(positions: list[int], start: int, end: int) -> int:
    """Return the last of sorted positions in a range, or 0."""
    i = bisect_left(positions, end)
    return positions[i - 1] if i and positions[i - 1] >= start else 0


def _end_in_url(text: str, start: int, colon: int, hosts: _Hosts) -> int:
    """Return where the password after //user: ends, or 0 if there is none."""
    user, rest = text[start:colon], text[colon + 1 : colon + 2 + _MAX_PASSWORD]
    if _is_drive(user, rest) or _is_port(user, rest) or _is_placeholder(rest):
        return 0
    # Blanks may stand before the first @ of a password, but not between it and the last one.
    before, at, _ = rest.partition("@")
    if not at or "\n" in before or _starts_name(before):
        return 0
    first = colon + 1 + len(before)
    word = _word(text, first + 1)
    end, slash = first + 1 + len(word), first + 1 + len(word.partition("/")[0])
    # Quantities stand in paths, so before the first / it is a host that looks like one.
    last = max(_last(hosts.likely, first, end), _last(hosts.possible, first, slash))
    return 0 if text[start:last] == _EXAMPLE else last


def _end_alone(text: str, start: int, colon: int, hosts: _Hosts) -> int:
    """Return where the password after user: ends, or 0 if there is none."""
    user, word = text[start:colon], _word(text, colon + 1)
    if (
        _is_path_or_quoted(word)
        or _is_port(user, word)
        or _is_label(user)
        or _is_line_number(text[start - 1 : start], user, word)
        or _is_time(word)
        or _is_list_of_names(word)
    ):
        return 0
    # What follows a / is more often a path than a part of a password.
    slash = colon + 1 + len(word.partition("/")[0])
    end = colon + 1 + len(word)
    return _last(hosts.likely, colon + 2, slash) or _last(hosts.full, slash, end)


def _word(text: str, start: int) -> str:
    """Return what stands before the next blank, at most as much as a password and its @."""
    found = _WORD.match(text, start)
    return found.group() if found else ""


def _is_no_host(text: str, start: int) -> bool:
    """Return whether this is a photo (a@2x.jpg), a version or a digest."""
    return any(pattern.match(text, start) for pattern in _NO_HOST)


def _is_port(host: str, rest: str) -> bool:
    """Return whether a number stands where an address can end, as in http://host:80, @name."""
    port = _PORT.match(rest)
    if port is None:
        return False
    if _END_OF_ADDRESS.match(rest, port.end()):
        return True
    is_machine = host.endswith("localhost") or _IP_ADDRESS.fullmatch(host)
    return bool(is_machine) and not _PASSWORD_GOES_ON.match(rest, port.end())


def _is_placeholder(rest: str) -> bool:
    """Return whether a message says where the port stands: http://host:port."""
    return re.match(r"port\b", rest) is not None


def _is_drive(user: str, rest: str) -> bool:
    """Return whether this is a path on Windows, as in file:///C:/name."""
    return re.fullmatch("[A-Za-z]", user) is not None and rest.startswith(("/", "\\"))


def _starts_name(before: str) -> bool:
    """Return whether an @ after this text starts the name of a user, as in (@name)."""
    return re.search(r"\s[(\"']?\Z", before) is not None


def _is_path_or_quoted(word: str) -> bool:
    r"""Return whether this follows a scheme (http://), a drive (C:\), std:: or a name in JSON."""
    return word.startswith(("/", "\\", ":", '"', "'"))


def _is_label(user: str) -> bool:
    """Return whether an e-mail address follows, as in mailto:me@example.org."""
    return _LABEL.fullmatch(user) is not None


def _is_line_number(before: str, user: str, word: str) -> bool:
    """Return whether this is a place in a file or the minute of a time: name.txt:12:text."""
    if before == ":" and _LINE.fullmatch(f"{user}:"):
        return True
    return bool(_FILE_NAME.fullmatch(user) and _LINE.match(word))


def _is_time(word: str) -> bool:
    """Return whether this is the rest of a time, as in 10:20:30@name."""
    time, _, rest = word.partition("@")
    return "@" not in rest and _TIME.fullmatch(time) is not None


def _is_list_of_names(word: str) -> bool:
    """Return whether this is a list, as in bots:@one,@two."""
    return _LIST_OF_NAMES.match(word) is not None
