"""The same text in another place where a shell runs it: as an argument that is read again, and between brackets.

`QUOTED` is the text as one word, `TEXT` the text itself.
"""

from random import Random
from shlex import quote

END = "ARREA_END"

READ_AGAIN = (
    "eval QUOTED",
    "command eval QUOTED",
    "sh -c QUOTED",
    "bash -euxc QUOTED arg",
    "bash -o pipefail -c QUOTED",
    "env -i A=1 sh -c QUOTED",
    "timeout 5 bash -c QUOTED",
    "find . -exec sh -c QUOTED {} +",
    "ls | xargs -I% sh -c QUOTED",
    "bash <<< QUOTED",
    "printf '%s\\n' QUOTED | bash",
    "trap QUOTED EXIT",
    "ssh host QUOTED",
    "su user -c QUOTED",
    "! time nohup nice -n 5 bash -c QUOTED &",
    f"sh <<'{END}'\nTEXT\n{END}\n",
    f"bash -s -- a <<'{END}'\nTEXT\n{END}\n",
    f"cat <<'{END}' | bash\nTEXT\n{END}\n",
    f"ssh host bash <<'{END}'\nTEXT\n{END}\n",
)
AROUND = (
    "(\nTEXT\n)",
    "{\nTEXT\n} 2>&1",
    "if true; then\nTEXT\nfi",
    "for i in 1 2; do\nTEXT\ndone | cat",
    "f() {\nTEXT\n}",
    'echo "$(\nTEXT\n)"',
    "x=$(\nTEXT\n)",
    "diff <(\nTEXT\n) y",
    "case $x in\na)\nTEXT\n;;\nesac",
    "case $x in\n(a)\nTEXT\n;;\nesac",
)


def carried(text: str) -> str:
    """Which place it is depends on the text alone.

    A text that looks like an option would be none of the shell's business, one that ends in a backslash would join
    what is behind it: those are put where that makes no difference.
    """
    places: tuple[str, ...] = READ_AGAIN + AROUND
    if text.startswith(("-", "+")):
        places = AROUND
    elif text.endswith("\\"):
        places = READ_AGAIN
    return put(Random(text).choice(places), text)


def put(place: str, text: str) -> str:
    """
    >>> put("eval QUOTED", "zap x")
    "eval 'zap x'"
    """
    return place.replace("QUOTED", quote(text)) if "QUOTED" in place else place.replace("TEXT", text)
