"""The evaluation of trained classifiers: reports, image selection, comparison of runs, Grad-CAM."""
