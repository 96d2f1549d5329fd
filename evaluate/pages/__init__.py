"""Web pages about a run: one file each that needs nothing else, no network either.

templates/base.html     what every page has: head, skip link, navigation, main, footer
templates/parts.html    macros: a clip that plays, a table that scrolls, what is missing
assets/                 CSS and JavaScript, written into the page

A section of the report is computed by a module, ordered by report.py and templates/report.html, and
drawn by a macro of templates/figures.html:

header           facts.py                        (report.html)
Results          results.py                      result, scores
The curve        run_curve.py, chart.py          curve
Training         curves.py, chart.py             chart
What is found    nearest_videos.py, gallery.py   found
Classes          confusion.py                    classes
Map              landscape.py                    map
Data             failures.py                     build
"""
