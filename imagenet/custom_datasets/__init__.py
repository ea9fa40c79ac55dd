"""ImageNet has no loader of its own: `fisher_al.data.loaders` reads any folder of images."""
