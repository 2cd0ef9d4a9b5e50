"""The number of images in the distributors' data sets, per label and per split.

Counted in the distributors' files. The test sets of UCM, AID and NWPU-RESISC45 are those of the most common splits:
images 80-99 of each class, and 80 % and 90 % of each class.
"""

_LABELS = """airplane bare-soil buildings cars chaparral court dock field grass mobile-home pavement sand sea ship
    tanks trees water""".split()
_UCM = [100, 718, 691, 886, 115, 105, 100, 103, 975, 102, 1300, 294, 100, 102, 100, 1009, 203]
_AID_MULTILABEL = [99, 1475, 2161, 2026, 112, 344, 271, 214, 2295, 2, 2328, 259, 221, 284, 108, 2407, 852]

_AID = {"Airport": 360, "BareLand": 310, "BaseballField": 220, "Beach": 400, "Bridge": 360, "Center": 260,
        "Church": 240, "Commercial": 350, "DenseResidential": 410, "Desert": 300, "Farmland": 370, "Forest": 250,
        "Industrial": 390, "Meadow": 280, "MediumResidential": 290, "Mountain": 340, "Park": 350, "Parking": 390,
        "Playground": 370, "Pond": 420, "Port": 380, "RailwayStation": 260, "Resort": 290, "River": 410, "School": 300,
        "SparseResidential": 300, "Square": 330, "Stadium": 290, "StorageTanks": 360, "Viaduct": 420}

_NWPU = """airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland cloud
    commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor industrial_area
    intersection island lake meadow medium_residential mobile_home_park mountain overpass palace parking_lot railway
    railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium
    storage_tank tennis_court terrace thermal_power_station wetland""".split()

# Label -> number of images with it.
LABEL_COUNTS = {"UCM_Multilabel": dict(zip(_LABELS, _UCM)), "AID_Multilabel": dict(zip(_LABELS, _AID_MULTILABEL)),
                "AID": _AID, "NWPU-RESISC45": dict.fromkeys(_NWPU, 700)}

# Training (with validation) and test images.
SPLIT_SIZES = {"UCM_Multilabel": (1680, 420), "AID_Multilabel": (2400, 600), "AID": (2000, 8000),
               "NWPU-RESISC45": (3150, 28350)}
