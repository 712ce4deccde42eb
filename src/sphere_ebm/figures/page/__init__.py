"""The page `map.html`: a map that one explores in a browser."""

from sphere_ebm.figures.page.notebook import PageView as PageView
from sphere_ebm.figures.page.notebook import show_points as show_points
from sphere_ebm.figures.page.page import page_bytes as page_bytes
from sphere_ebm.figures.page.page import write_page as write_page
from sphere_ebm.figures.page.points import PagePoints as PagePoints
from sphere_ebm.figures.page.points import points_of_labels as points_of_labels
from sphere_ebm.figures.page.region_names import Region as Region
from sphere_ebm.figures.page.region_names import named_regions as named_regions
