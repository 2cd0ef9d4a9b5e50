"""`--model Small`: a network of two convolutions, where it does not matter what a network can learn.

It has what a run must take care of: batch normalisation, whose statistics belong to the weights, and dropout, which
draws from torch's generator.
"""

from torch import Tensor, nn

from model.networks import NETWORKS, LinearClassifier, Network


class SmallNetwork(nn.Module):
    def __init__(self, weights: None = None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8), nn.ReLU(),
                                  nn.Conv2d(8, 16, 2, stride=2), nn.BatchNorm2d(16), nn.ReLU())
        self.dropout, self.fc = nn.Dropout(0.2), nn.Linear(16, 1000)

    def forward(self, images: Tensor):
        return self.fc(self.dropout(self.body(images).mean((2, 3))))


def replace_classifier(network: SmallNetwork, num_labels: int) -> SmallNetwork:
    network.fc = LinearClassifier(network.fc.in_features, num_labels)
    return network


def register() -> None:
    """Add it to the choices of `--model`, after those tests were collected that try each of the project's networks."""
    NETWORKS["Small"] = Network(SmallNetwork, None, replace_classifier, "fc.", "body")
