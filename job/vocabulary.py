"""Constants that the whole project shares: domains, splits, protocols, emotions, the label of unlabelled images."""

SOURCE, TARGET = "source", "target"
DOMAINS = (SOURCE, TARGET)
SPLITS = ("train", "val", "test")
HELD_OUT, TRANSDUCTIVE = "held_out", "transductive"  # protocols: is the target tested on images of its training?
UNLABELLED = -1  # the label of an image without a label
EMOTIONS = ("neutral", "joy", "sadness", "surprise", "anger", "fear", "disgust")
