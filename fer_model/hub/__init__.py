"""To and from the Hugging Face Hub: downloads, cards, pushes."""
