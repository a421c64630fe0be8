"""Programs that run code of another language, and the commands in such code.

Where code calls something that runs programs, its texts and lists of texts are taken for commands (`commands_in`);
other code is data. No language is understood further than its quotes.
"""

from __future__ import annotations

import re

from arrea._prepare.validation.started import Code, Input
from arrea._prepare.validation.words import decode_escapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrea._prepare.validation.commands import Call
    from arrea._prepare.validation.started import Started

# names : options whose value is code ; options with another value. `*` for code that is the first operand.
_TABLE = """
python pypy ipython jython micropython : -c ; -W -X --check-hash-based-pycs
perl : -e -E ; -I -M -m -C
ruby jruby irb : -e ; -I -r -C -E
node nodejs bun : -e --eval -p --print -pe ; -r --require --loader --import
deno : eval ; -c --config
php : -r --run -B -R -E ; -d -c -z
lua luajit luau : -e ; -l
awk gawk mawk nawk original-awk goawk : * -e --source ; -v -F -f --assign --field-separator -i
Rscript R julia elixir swift groovy scala ghc runghc ocaml racket guile sbcl clisp crystal raku erl escript : \
    -e --eval -E -eval --expr -x ; -l
tclsh wish : ;
osascript : -e ; -l
"""
_PROGRAMS: dict[str, str] = {}
_OPTIONS: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
for _row in _TABLE.replace("\\\n", " ").strip().split("\n"):
    _names, _, _rest = _row.partition(":")
    _code, _, _values = _rest.partition(";")
    _listed = _names.split()
    _OPTIONS[_listed[0]] = (frozenset(_code.split()), frozenset(_values.split()))
    _PROGRAMS.update(dict.fromkeys(_listed, _listed[0]))

INTERPRETERS = frozenset(_PROGRAMS)
_STDIN = frozenset(("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"))


def language_of(name: str) -> str | None:
    """The language that a program runs; versions don't matter.

    >>> language_of("python3.11"), language_of("make")
    ('python', None)
    """
    return _PROGRAMS.get(name) or _PROGRAMS.get(name.rstrip("0123456789.-"))


def interpreter(call: Call, language: str) -> Iterator[Started]:
    """`python -c CODE`, `perl -ne CODE`, `awk PROGRAM`, or one that reads its input."""
    code, values = _OPTIONS[language]
    words = call.words
    at, seen = 1, False
    while at < len(words) and (words[at][:1] == "-" or words[at] in code) and words[at] not in ("-", "--"):
        word = words[at]
        at += 1
        if word in values:
            at += 1
        elif word[:2] == "-m" and language == "python":
            return
        elif (attached := _attached(word, code)) is not None:
            seen = True
            if attached:
                yield Code(attached, language, at - 1)
            elif at < len(words):
                yield Code(words[at], language, at)
                at += 1
    at += words[at : at + 1] == ["--"]
    if not seen and "*" in code and at < len(words):
        yield Code(words[at], language, at)
    elif not seen and (at >= len(words) or words[at] in _STDIN):
        yield Input(language)


def _attached(word: str, code: frozenset[str]) -> str | None:
    """The code in the same word as its option, "" when it is the next word; None for another option.

    >>> _attached("-ne", frozenset(["-e"])), _attached("--eval=x", frozenset(["--eval"]))
    ('', 'x')
    """
    name, equals, value = word.partition("=")
    if name in code:
        return value if equals else ""
    if word[:2] == "--":
        return None
    for at, letter in enumerate(word[1:], 2):
        if "-" + letter in code:
            return word[at:]
        if not letter.isalnum():
            return None
    return None


# ── code ─────────────────────────────────────────────────────────────────────────────────────────

_RUNS = re.compile(
    r"\b(?:system\d?|systemCommand|popen\w*|exec\w*|spawn\w*|posix_spawnp?|Popen|run\w*|call|check_call|check_output|"
    r"getoutput|getstatusoutput|qx|shell_exec|passthru|proc_open|pcntl_exec|shell|sh|execSync|do shell script|cmd|"
    r"open[23]?|startProcess|Process|process|command|\w*subprocess\w*|getline)\b|%x|\bos:cmd",
    re.IGNORECASE,
)
# psql's and sqlite3's own commands, and COPY ... PROGRAM.
_SQL_RUNS = re.compile(
    r"\\!|\bPROGRAM\b|^\s*\.(?:shell|system)\b|\\(?:copy|o|g)\b.*\|", re.IGNORECASE | re.MULTILINE
)
_DECODES = re.compile(
    r"b64decode|fromhex|unhexlify|\batob\b|base64_decode|decode64|rot13|\bunpack\b|decodestring|b16decode"
)
_LITERAL = re.compile(
    r'"""(?P<a>(?:[^\\]|\\.)*?)"""|\'\'\'(?P<b>(?:[^\\]|\\.)*?)\'\'\''
    r'|"(?P<c>(?:[^"\\]|\\.)*)"|\'(?P<d>(?:[^\'\\]|\\.)*)\'|`(?P<e>(?:[^`\\]|\\.)*)`'
    r"|(?:\bq[qxw]?|%[qQxwWi])\s*(?:\((?P<f>[^)]{0,500})\)|\{(?P<g>[^}]{0,500})\}|\[(?P<h>[^\]]{0,500})\]|"
    r"([/|!])(?P<i>.{0,500}?)\9)|\[\[(?P<j>.{0,500}?)\]\]",
    re.DOTALL,
)
_JOINED = re.compile(r"[\s\\]*(?:\+|\.\.?|<>|&)?[\s\\]*(?:[rbfuRBFU]{1,2})?", re.DOTALL)
_LISTED = re.compile(r"[\s\[\](){}]*,[\s\[\](){}]*(?:\w+\s*[:=][\s\[({]*)?(?:[rbfuRBFU]{1,2})?", re.DOTALL)


def commands_in(code: str, language: str) -> tuple[list[list[str]], str | None]:
    """The commands that code may run: lists of words, a text alone being a line; and what hides others, if any.

    >>> commands_in("import subprocess; subprocess.run(['ls', '-l'])", "python")
    ([['ls', '-l'], ['ls'], ['-l']], None)
    >>> commands_in("print('ls -l')", "python")
    ([], None)
    """
    if not _runs_programs(code, language):
        return [], None
    decodes = _DECODES.search(code)
    return [part for group in _groups(code) for part in _parts(group)], decodes[0] if decodes else None


def texts_in(code: str) -> list[str]:
    """Every text in code, joined where the code joins it."""
    return [text for group in _groups(code) for text in group]


def _groups(code: str) -> list[list[str]]:
    """The texts, those together that are separated by commas only."""
    groups: list[list[str]] = []
    end = -1
    for found in _LITERAL.finditer(code):
        between = code[end : found.start()]
        text = decode_escapes(found[found.lastgroup or 0])
        listed = found[0][:2] in ("qw", "%w", "%W", "%i")
        words = text.split() if listed else [text]
        if end >= 0 and _JOINED.fullmatch(between) and not listed:
            groups[-1][-1] += text
        elif end >= 0 and _LISTED.fullmatch(between):
            groups[-1] += words
        else:
            groups.append(words)
        end = found.end()
    return [group for group in groups if group]


def _parts(group: list[str]) -> list[list[str]]:
    lines = [[text.strip("| ")] for text in group]  # a bar at an end is how perl opens a pipe
    return lines if len(group) == 1 else [group, *lines]


def _runs_programs(code: str, language: str) -> bool:
    if language == "sql":
        return _SQL_RUNS.search(code) is not None
    if "`" in code or "qx" in code or "%x" in code or (language == "awk" and "|" in code):
        return True
    return _RUNS.search(_LITERAL.sub("''", code)) is not None
