"""FER2013 in; labelled faces, split and augmented, out."""
