def write_card(d): pass
def push_folder(d, r): pass
