"""Pictures: `image` reads one file, `folder` a folder of classes, of which `survey` says what is odd; `augment`
prepares pictures for the models, `batches` draws training batches; `cut` cuts sheets into frames, `sprites` builds the
sprite set.
"""
