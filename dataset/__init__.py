"""Aerial images: what is on the disk, as training, validation and test sets with their labels."""

from .augment import AugmentAndNormalize, all_views, random_flips_and_rotation
from .data import Data, Split, load_data
from .image_cache import cached_images
from .image_list import fingerprints, images_at, read_image_list, relative_name, write_image_list
from .label_table import LabelTable, read_label_table
from .layouts import LAYOUTS, dataset_name
from .loader import ImageDataset, ShuffledImages, build_loader, images_of_step
from .splits import stratified_holdout
from .test_split import Candidate, find_common_test_data, unify_labels
from .transforms import IMAGENET_MEAN, IMAGENET_STD, Normalize, eval_transform, load_image, train_transform
