"""A Hugging Face Hub on 127.0.0.1, its users, and what can go wrong in between."""
