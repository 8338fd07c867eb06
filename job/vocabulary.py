"""Words that the whole project shares: domains, splits and the seven emotions."""

SOURCE, TARGET = "source", "target"
DOMAINS = (SOURCE, TARGET)
SPLITS = ("train", "val", "test")
EMOTIONS = ("neutral", "joy", "sadness", "surprise", "anger", "fear", "disgust")
