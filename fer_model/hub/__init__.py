"""The Hugging Face Hub: downloads, cards, pushes."""
