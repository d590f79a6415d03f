"""Labels and images in files: COCO files, class folders, the synthetic shapes, and their checks.

Not here: building a data set for training, which is mmdet's and mmpretrain's.
"""
