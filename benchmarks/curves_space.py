"""The space `full` on the published network alone, whose trials end in minutes on a CPU.

`curves.csv` was drawn from it: methods, women/men weight, recipe, and of the network its dropout.
"""

from search_spaces import architecture, full, recipe

OF_NETWORK = architecture.POINTS["plain"].keys() - recipe.POINTS["plain"].keys()
POINTS = {
    "plain": {name: value for name, value in full.POINTS["plain"].items() if name not in OF_NETWORK}
}
suggest = full.but_for_network
