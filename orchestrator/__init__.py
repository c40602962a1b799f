"""fairfront: the fairness-accuracy front of face-attribute classifiers, on Ray."""

__version__ = "0.1.0"
