"""Pictures: `image` reads one file, `folder` a folder of classes, `augment` prepares pictures for the models, `batches`
draws training batches; `sprites` builds the sprite set.
"""
