"""What the HTML pages of both sides are made of: markup, wording, tables, drawings, header and shell.

Nothing here knows what a page is about. Whatever comes from data is escaped (:mod:`common.page.markup`), and
a page needs no network, no script and no other file (:mod:`common.page.document`). A page is the function
``document``; its looks are ``style.css`` here and, after it, the ``style.css`` of the package that makes it.
"""
