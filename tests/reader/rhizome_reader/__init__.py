"""An independent reader of Rhizome's formats, written from docs/formats.md alone."""
