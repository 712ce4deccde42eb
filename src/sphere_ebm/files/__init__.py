"""Files in and out, whatever is in them: containers, tensors, atomic writes, journals, folders."""
