"""Students of the labels: given the bytes of a patch, where on the map it belongs, how surely."""
