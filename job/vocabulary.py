"""Constants that the whole project shares: domains, splits, the seven emotions, and the label of unlabelled images."""

SOURCE, TARGET = "source", "target"
DOMAINS = (SOURCE, TARGET)
SPLITS = ("train", "val", "test")
UNLABELLED = -1  # the label of an image without a label
EMOTIONS = ("neutral", "joy", "sadness", "surprise", "anger", "fear", "disgust")
