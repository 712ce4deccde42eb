"""Files of text as they are read: their documents, or the line with which they are refused."""

import tracemalloc

import numpy as np
import pytest

from sphere_ebm.errors import ShardError
from sphere_ebm.text.documents import read_texts
from sphere_ebm.text.finding import TextItem


def read(path, **options):
    return read_texts(TextItem(path.stem, path), **options)


def refusal(path, **options):
    with pytest.raises(ShardError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


def refusal_and_peak(path, **options):
    """The line, and the most bytes that were held until it came."""
    tracemalloc.start()
    try:
        message = refusal(path, **options)
        return message, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def texts(file):
    ends = np.cumsum(file.lengths)
    return [
        bytes(file.octets[end - length : end]).decode()
        for end, length in zip(ends, file.lengths, strict=True)
    ]
