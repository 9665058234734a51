"""The E-model once more, whole, from the formulas of ITU-T G.107 §3: what our short form is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log2, log10, pow, sqrt


@dataclass(frozen=True)
class Connection:
    """The parameters of G.107 table 2 with their defaults; levels in dB, delays in ms."""

    slr: float = 8
    rlr: float = 2
    stmr: float = 15
    lstr: float = 18
    ds: float = 3
    telr: float = 65
    wepl: float = 110
    t: float = 0
    tr: float = 0
    ta: float = 0
    qdu: float = 1
    ie: float = 0
    bpl: float = 4.3
    ppl: float = 0
    burst_r: float = 1
    nc: float = -70
    nfor: float = -64
    ps: float = 35
    pr: float = 35
    a: float = 0

    @property
    def noise(self) -> float:
        """No: all noises together, at the 0 dBr point."""
        olr = self.slr + self.rlr
        nos = self.ps - self.slr - self.ds - 100 + 0.004 * (self.ps - olr - self.ds - 14) ** 2
        pre = self.pr + 10 * log10(1 + 10 ** ((10 - self.lstr) / 10))
        nor = self.rlr - 121 + pre + 0.008 * (pre - 35) ** 2
        return 10 * log10(sum(pow(10, level / 10) for level in (self.nc, nos, nor, self.nfor + self.rlr)))

    @property
    def ro(self) -> float:
        return 15 - 1.5 * (self.slr + self.noise)

    @property
    def simultaneous(self) -> float:
        """Is: loudness, sidetone, quantizing."""
        x: float = self.slr + self.rlr + 0.2 * (64 + self.noise - self.rlr)
        loud = 20 * (pow(1 + pow(x / 8, 8), 1 / 8) - x / 8)
        stmr = -10 * log10(10 ** (-self.stmr / 10) + exp(-self.t / 4) * 10 ** (-self.telr / 10))
        tone = (
            12 * pow(1 + pow((stmr - 13) / 6, 8), 1 / 8)
            - 28 * pow(1 + pow((stmr + 1) / 19.4, 35), 1 / 35)
            - 13 * pow(1 + pow((stmr - 3) / 33, 13), 1 / 13)
            + 29
        )
        q = 37 - 15 * log10(self.qdu)
        g = 1.07 + 0.258 * q + 0.0602 * q**2
        y, z = (self.ro - 100) / 15 + 46 / 8.4 - g / 9, 46 / 30 - g / 40
        return loud + tone + 15 * log10(1 + pow(10, y) + pow(10, z))

    @property
    def delay(self) -> float:
        """Id: talker's echo, listener's echo, delay."""
        terv = self.telr - 40 * log10((1 + self.t / 10) / (1 + self.t / 150)) + 6 * exp(-0.3 * self.t**2)
        difference = -1.5 * (self.noise - self.rlr) - (80 + 2.5 * (terv - 14))
        talker = (difference / 2 + sqrt(difference**2 / 4 + 100) - 1) * (1 - exp(-self.t))
        difference = self.ro - 10.5 * (self.wepl + 7) * pow(self.tr + 1, -0.25)
        listener = difference / 2 + sqrt(difference**2 / 4 + 169)
        if self.ta <= 100:
            return talker + listener
        x = log2(self.ta / 100)
        return talker + listener + 25 * (pow(1 + pow(x, 6), 1 / 6) - 3 * pow(1 + pow(x / 3, 6), 1 / 6) + 2)

    @property
    def equipment(self) -> float:
        """Ie,eff."""
        return self.ie + (95 - self.ie) * self.ppl / (self.ppl / self.burst_r + self.bpl)

    @property
    def r(self) -> float:
        return self.ro - self.simultaneous - self.delay - self.equipment + self.a
