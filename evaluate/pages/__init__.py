"""Web pages, each one self-contained file that needs no network.

    templates/base.html    parts of every page: head, skip link, navigation, main, footer
    templates/parts.html   macros: a playing clip, a scrolling table, a note on what is missing
    assets/                CSS and JavaScript, which are embedded in the page

Each section of the report is computed by modules, ordered by report.py and templates/report.html,
and drawn by a macro of templates/figures.html:

    section           modules                                  macro
    header            facts.py                                 (report.html)
    Results           results.py, figures.py, result_chart.py  result, scores
    The curve         run_curve.py, chart.py                   curve
    Training          curves.py, chart.py                      chart
    What is found     nearest_videos.py, gallery.py            found
    Classes           confusion.py                             classes
    Map               landscape.py                             map
    Data              failures.py                              build
"""
