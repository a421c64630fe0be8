"""Texts made to keep a validator busy. Nothing here is ever run."""

MIB = 1024 * 1024

# Read to the end, or given up: a megabyte of each, though a line has a limit.
PATTERNS = {
    "words": "dd curl wget chown -R x ",
    "substitutions": "$(",
    "subshells": "(",
    "groups": "{",
    "quoted substitutions": '"$(',
    "backticks": "`",
    "documents": "<<A\n",
    "assignments": "a=b ",
    "semicolons": ";",
    "backslashes": "\\",
    "quotes": "'",
    "expansions": "${x:-",
    "conditions": "[[ ",
    "cases": "case x in ",
    "ifs": "if ",
}

# As many commands, words or texts to be read again as a line can hold.
DENSE = {
    "spaced groups": "{ ",
    "escaped backticks": "`\\`",
    "commands with documents": "a <<A\n",
    "double quotes": '"',
    "quoted expansions": '"${x:-',
    "whiles": "while a; do ",
    "arithmetic": "$((",
    "arrays": "a=(",
    "redirects": "> x ",
    "here-strings": "<<< x ",
    "pipes": "a | ",
    "backgrounds": "a & ",
    "lists": "a && ",
    "lines": "a\n",
    "comments": "# a\n",
    "processes": "<(",
    "functions": "f() { ",
    "braces": "{a,b}",
    "deep braces": "{a,",
    "ansi quotes": "$'\\x41'",
    "continuations": "\\\n",
    "evals": "eval ",
    "launchers": "env -S ",
    "shells": "sh -c ",
    "escaped": "\\a",
    "wide": "é",
    "tests": "zapper '-rf' $x; ",
    "echoes": "echo a | sh; ",
    "texts for shells": "sh -c 'ls'; ",
    "functions of functions": "f() { f; }; ",
    "negations": "! ",
    "timed": "! time ",
    "nulls": "\0",
    "returns": "\r",
    "blanks": " ",
    "tildes": "~",
    "globs": "*[a]?",
}


def repeated(pattern: str, size: int) -> str:
    """As often as it fits into so many bytes."""
    return pattern * (size // len(pattern.encode()))
