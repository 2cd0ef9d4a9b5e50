"""Networks that return (features, logits), and the weight files they start from or were trained into."""

from .build import build_model, load_trained, network_name
from .networks import NETWORKS
