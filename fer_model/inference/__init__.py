"""Images and videos in; faces with probabilities and heat maps out."""
