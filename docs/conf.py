"""How `python3 bootstrap.py docs` makes a site of this folder."""

project = "Data Mover"
extensions = ["myst_parser"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme = "pydata_sphinx_theme"
html_title = "Data Mover"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_prev_next": False,
    "header_links_before_dropdown": 5,
    "footer_start": [],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
# a link to a heading is checked, like every other link
myst_heading_anchors = 3
nitpicky = True
