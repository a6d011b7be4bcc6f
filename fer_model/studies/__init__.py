"""What the networks' scores do not tell: true heat maps, worse photos, speed."""
