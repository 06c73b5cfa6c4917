"""The warehouse file: where it is, how it is opened and migrated, who may write it. No rows of any feature."""
