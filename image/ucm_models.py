"""Draw what three models see in real images (image/ucm_*): python image/ucm_models.py

They are the models of the study at 224 px, which `python benchmark/reproduce.py ucm_aitlas_224px_20epochs` trains and
leaves below runs/.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import Test  # noqa: E402
from benchmark.reproduce import seeds_of  # noqa: E402

TABLE = "ucm_aitlas_224px_20epochs"
IMAGES = ("tenniscourt15", "denseresidential58", "denseresidential40")  # the last two: --select disagree


def main() -> None:
    runs = [seeds_of(TABLE, row)[0].name for row in ("bce", "r4c", "r4c_bound_no_feature")]
    weights = [str(max((ROOT / "runs" / "study" / TABLE / run).glob("*/best.pth"))) for run in runs]
    with tempfile.TemporaryDirectory() as folder:
        Test.main(["--weights_path", *weights, "--save_path", folder, "--formats", "png", "--show_scores",
                   "--show_predictions", "--show_gradcam", "--select", *IMAGES])
        for stem, name in (("predictions_1", "ucm_predictions.jpg"), ("gradcam_1_*", "ucm_gradcam.jpg"),
                           ("score_histogram", "ucm_score_histogram.png")):
            file, = Path(folder).glob(f"{stem}.png")
            Image.open(file).convert("RGB").save(ROOT / "image" / name, quality=88, optimize=True)


if __name__ == "__main__":
    main()
