"""Names of the files in a map's folder, and what their metadata call their formats."""

MAP_FORMAT = "sphere_map_v1"
MAP = "map.json"
PLACEMENT = "placement.safetensors"
ENERGY = "energy.csv"
FIGURE = "map.png"
PAGE = "map.html"
CHECKPOINT = ".sphere-checkpoint.safetensors"
