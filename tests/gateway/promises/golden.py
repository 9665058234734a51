"""`python -m tests.gateway.promises.golden`: writes the golden pages anew, to be read before they are committed."""

from __future__ import annotations

from gateway.promises.page import page
from gateway.promises.render import FORMATS
from gateway.promises.words import LANGUAGES
from tests.gateway.promises.test_page import FACTS, VECTORS, policy

if __name__ == "__main__":
    for language in LANGUAGES:
        for kind, render in FORMATS.items():
            text = render(page(policy(), FACTS, language))
            (VECTORS / f"what-we-keep.{language}.{kind}").write_text(text, encoding="utf-8")
