"""Web pages about a run: one file each that needs nothing else, no network either.

templates/base.html     what every page has: head, skip link, navigation, main, footer
templates/parts.html    macros: a clip that plays, a table that scrolls, what is missing
assets/                 CSS and JavaScript, written into the page
"""
