"""The colours of every figure: the colour-blind tell them apart. It draws nothing.

Source: Okabe & Ito (2008), "Color Universal Design".
"""

from __future__ import annotations

#: Darkest first; yellow is left out, it is not seen on white. Black, or the colour of text, comes after them.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
