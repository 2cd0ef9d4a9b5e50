"""Draw what three models see in real images (image/ucm_*): python image/ucm_models.py

They are the models in bold in the table of UCM_Multilabel at 30 epochs in benchmark/RESULTS.md, whose command leaves
them below runs/.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import Test  # noqa: E402

RUNS = ROOT / "runs" / "UCM_Multilabel_MobileNet-V2_128px_30epochs"
MODELS = ("bce_5e-4", "focal_1e-3", "r4c_2e-4")
IMAGES = ("tenniscourt85", "sparseresidential94", "mobilehomepark87")  # the last two: --pick disagree


def main() -> None:
    weights = [str(max(RUNS.glob(f"{model}_seed3050/*/best.pth"))) for model in MODELS]
    with tempfile.TemporaryDirectory() as folder:
        Test.main(["--weights_path", *weights, "--save_path", folder, "--formats", "png", "--show_scores",
                   "--show_predictions", "--show_gradcam", "--pick", *IMAGES])
        for picture, name in (("predictions_1", "ucm_predictions.jpg"), ("gradcam_1_*", "ucm_gradcam.jpg"),
                              ("score_histogram", "ucm_score_histogram.png")):
            file, = Path(folder).glob(f"{picture}.png")
            Image.open(file).convert("RGB").save(ROOT / "image" / name, quality=88, optimize=True)


if __name__ == "__main__":
    main()
