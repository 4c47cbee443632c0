"""A message as PDF that screen readers can read (PDF/UA-1, ISO 14289-1): tagged, with its language and its title.

Made by typst, an extra, in a process of its own (portal/mime/worker.py) that holds no key and reads no file. The layout is fixed and
the words come beside it as data: nothing a sender wrote is ever read as markup.
"""

import json
from importlib.util import find_spec

MAX_SHEET_BYTES = 1024 * 1024
"""Of the words. Longer ones make hundreds of pages, which nobody waits for."""
MAX_PDF_BYTES = 16 * 1024 * 1024

_LAYOUT = b"""
#let sheet = json(bytes(sys.inputs.sheet))
#let lines(text) = text.split("\\n").join(linebreak())
#let prose(text) = for part in text.split("\\n\\n").filter(part => part.trim() != "") { par(lines(part)) }
#set document(title: sheet.title, author: sheet.author)
#set text(lang: sheet.lang, dir: if sheet.rtl { rtl } else { ltr }, size: 11pt, font: ("Noto Sans", "DejaVu Sans", "Libertinus Serif"))
#set page(
  paper: "a4", margin: (x: 20mm, y: 24mm),
  header: text(size: 9pt, sheet.head.join([ #sym.dot.c ])),
  footer: text(size: 9pt)[#sheet.foot #h(1fr) #context counter(page).display("1 / 1", both: true)],
)
#show heading: it => block(above: 1.6em, below: 0.8em, it)
= #sheet.title
#for (name, said) in sheet.fields { terms.item(name, said) }
#v(1em)
#prose(sheet.text)
#for (title, sender, said) in sheet.documents { if title + sender != "" [== #title]; if sender != "" [#sender]; v(0.5em); prose(said) }
#for (title, items) in sheet.lists { [== #title]; list(..items) }
#if sheet.replies.len() > 0 [== #sheet.replies_title]
#for (title, said, items) in sheet.replies { [=== #title]; prose(said); if items.len() > 0 { list(..items) } }
"""


def available() -> bool:
    """Whether the extra `pdf` is installed. Imports nothing."""
    return find_spec("typst") is not None


def made(sheet: bytes) -> bytes:
    """The PDF of what templates/recipient/paper.json says, or nothing where it can't be made: words that no font here can draw.

    In the render process only.
    """
    import typst

    try:
        json.loads(sheet)
        pdf: bytes = typst.compile(_LAYOUT, format="pdf", pdf_standards=["ua-1"], sys_inputs={"sheet": sheet.decode()})
    except (typst.TypstError, ValueError):
        return b""
    return pdf if len(pdf) <= MAX_PDF_BYTES else b""


def warm() -> None:
    """Starts what typst needs of the system, before the process gives up its rights."""
    empty = {"title": "x", "author": "", "lang": "en", "rtl": False, "head": [], "foot": "", "fields": [], "text": "x"}
    made(json.dumps({**empty, "documents": [], "lists": [], "replies_title": "", "replies": []}).encode())
