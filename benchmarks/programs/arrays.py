"""Big values of several kinds, and the functions that make and take them. In a module, so that all pools go by name."""

from pickle import PickleBuffer


class Array:
    """Stands for an array of numpy: its memory goes out of band where a pool lets it, and isn't copied at the end."""

    def __init__(self, memory) -> None:
        self.memory = memoryview(memory)

    def __reduce_ex__(self, protocol: int):
        return Array, (PickleBuffer(self.memory) if protocol >= 5 else bytes(self.memory),)

    def __len__(self) -> int:
        return len(self.memory)

    def __getitem__(self, index: int) -> int:
        return self.memory[index]


KINDS = {"bytes": bytes, "bytearray": bytearray, "array": Array}


def made(kind: str, size: int):
    """Every page touched, without a second copy on the way."""
    memory = b"x" * size if kind == "bytes" else bytearray(b"x") * size
    return Array(memory) if kind == "array" else memory


def measured(value) -> tuple[str, int]:
    """What it is, and its size, if its ends are as they were made."""
    assert value[0] == value[-1] == ord("x")
    return type(value).__name__.lower(), len(value)
