"""Every setting in one typed tree, the recipes, and how the layers of a configuration resolve."""
