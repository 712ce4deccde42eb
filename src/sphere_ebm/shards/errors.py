"""The one exception of this package: what is wrong with a file, and where."""

from pathlib import Path


def one_line(text: str) -> str:
    """`text` with every unprintable character (line breaks, control characters, lone surrogates) escaped.

    File and tensor names come from outside, so a message made of them may hold anything; the result is one line that
    every terminal and every UTF-8 file can take.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class ShardError(ValueError):
    """A shard, label file or sidecar that cannot be used. `str()` is always one line.

    **Arguments:**

    - `file`: the file (or the input as it was typed, if there is no such file).
    - `problem`: what is wrong, with the value received.
    - `tensor`, `index`: the tensor (column, table) and the first bad index in it, where there is one.
    - `cure`: what the user can do about it.
    """

    def __init__(
        self,
        file: Path | str,
        problem: str,
        tensor: str | None = None,
        index: int | tuple[int, ...] | None = None,
        cure: str = "",
    ) -> None:
        # All arguments go into `args`, so that the exception survives pickling between processes.
        super().__init__(file, problem, tensor, index, cure)
        self.file = Path(file)
        self.problem = problem
        self.tensor = tensor
        self.index = index
        self.cure = cure

    def __str__(self) -> str:
        place = [str(self.file)]
        if self.tensor is not None:
            name = f"`{_short(self.tensor, 80)}`"
            place.append(name if self.index is None else f"{name} at index {self.index}")
        message = ": ".join([*place, _short(self.problem, 400)])
        return one_line(f"{message}; {self.cure}" if self.cure else message)


def _short(text: str, limit: int) -> str:
    """A name in a damaged header can be megabytes long."""
    return text if len(text) <= limit else f"{text[:limit]}..."
