"""A local page to try facekp in a browser.

In: a photo or a short video, dropped on the page. Out: pictures, tables and files of its faces.
Start with `views.py`, which computes what the page shows; `page.py` lays it out.
"""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported
