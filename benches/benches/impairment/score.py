"""PESQ (ITU-T P.862) of a recording against what was said, over and over: score.py RATE SAID HEARD.

Files hold samples of 16 bits. Windows as long as what was said are looked up in the recording by
correlation, and the mean of their scores is printed: narrowband at 8 kHz, else wideband at 16 kHz.
"""

import sys

import numpy
from pesq import pesq


def read(path):
    return numpy.fromfile(path, dtype="<i2").astype(numpy.float64)


def shift(said, heard):
    """By how much `said` has to be turned to lie at the beginning of `heard`."""
    length = len(said)
    spectra = numpy.fft.rfft(heard[:length]), numpy.fft.rfft(said)
    likeness = numpy.fft.irfft(spectra[0] * numpy.conj(spectra[1]), length)
    return int(numpy.argmax(likeness))


def main():
    rate, said, heard = int(sys.argv[1]), read(sys.argv[2]), read(sys.argv[3])
    mode = "nb" if rate == 8000 else "wb"
    scores = []
    for start in range(0, len(heard) - len(said) + 1, len(said)):
        window = heard[start : start + len(said)]
        turned = numpy.roll(said, shift(said, window))
        scores.append(pesq(rate, turned.astype(numpy.int16), window.astype(numpy.int16), mode))
    print(f"{numpy.mean(scores) if scores else float('nan'):.3f}")


main()
