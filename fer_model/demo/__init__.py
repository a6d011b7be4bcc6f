"""The parts of the demo, `app.py`: one file a tab, and what they share. Needs Gradio; the rest of the package does not.

visitors ─► versions ─► show ─► photo, live, clips, about, programs ─► page
"""
