"""The page that `app.py` serves: its tabs, its endpoints, its privacy. Alone in the package it needs Gradio."""
